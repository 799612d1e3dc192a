//! Metadata of mirrored flows (forwarding.md 9.1). Many flows share few different ones, so entries have numbers, and
//! the metadata itself is published.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use hashbrown::HashMap;
use vr_types::FlowIndex;

use super::Tables;

/// The longest metadata that an analyzer gets.
const LONGEST: usize = 255;
/// How many different ones are kept. Flows beyond that are mirrored without.
const MOST: u32 = 16_384;

/// Numbers of the metadata that there is, from 1 on.
#[derive(Default)]
pub(super) struct FlowMetadata(HashMap<Arc<[u8]>, u32>);

impl Tables {
    /// Sets what goes with mirrored copies of packets of a flow, or that nothing does. Without effect if the slot has
    /// another generation.
    pub fn flow_metadata(&mut self, index: FlowIndex, generation: u8, metadata: &[u8]) {
        let number = self.number_of(metadata.get(..LONGEST).unwrap_or(metadata));
        let shared = self.flows.shared(index).filter(|_| self.flows.in_use(index));
        if let Some(shared) = shared.filter(|shared| shared.generation.load(Acquire) == generation) {
            shared.set_mirror_metadata(number);
        }
    }

    fn number_of(&mut self, metadata: &[u8]) -> u32 {
        if metadata.is_empty() {
            return 0;
        }
        if let Some(number) = self.metadata.0.get(metadata) {
            return *number;
        }
        let number = self.metadata.0.len() as u32 + 1;
        if number > MOST {
            return 0;
        }
        let metadata: Arc<[u8]> = metadata.into();
        self.work.flow_metadata.set(number as usize, Some(Arc::clone(&metadata)));
        self.metadata.0.insert(metadata, number);
        self.changed();
        // A worker that finds the number has to find the metadata.
        self.publish();
        number
    }
}
