//! Metadata of mirrored flows (forwarding.md 9.1). Many flows share few different ones, so entries have numbers, and
//! the metadata itself is published.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use hashbrown::HashMap;
use vr_types::FlowIndex;

use super::{Datapath, FlowReply, FlowSpec, Tables};
use crate::dense::Dense;
use crate::flow::SharedFlow;

/// The longest metadata that an analyzer gets.
const LONGEST: usize = 255;
/// How many different ones are kept. Flows beyond that are mirrored without.
const MOST: u32 = 16_384;

/// Numbers of the metadata that there is, from 1 on.
#[derive(Default)]
pub(super) struct FlowMetadata(HashMap<Arc<[u8]>, u32>);

impl Tables {
    /// [`Tables::flow_set`] of a mirrored flow, with what goes with its copies. A refused request changes neither.
    pub fn flow_set_mirrored(
        &mut self,
        spec: &FlowSpec,
        metadata: &[u8],
        datapath: &mut dyn Datapath,
    ) -> FlowReply {
        let Some(index) = spec.index else {
            let reply = self.flow_set(spec, datapath);
            if let (Ok(()), Some(index)) = (&reply.result, reply.index) {
                self.flow_metadata(index, reply.generation, metadata);
            }
            return reply;
        };
        let before = self.flows.shared(index).map(SharedFlow::mirror_metadata);
        // Before packets that wait go on.
        self.flow_metadata(index, spec.generation, metadata);
        let reply = self.flow_set(spec, datapath);
        if let (Err(_), Some(before)) = (&reply.result, before) {
            self.set_metadata_number(index, spec.generation, before);
        }
        reply
    }

    /// Sets what goes with mirrored copies of packets of a flow, or that nothing does. Without effect if the slot has
    /// another generation, or while an agent restarts: entries are still its predecessor's.
    pub fn flow_metadata(&mut self, index: FlowIndex, generation: u8, metadata: &[u8]) {
        if !self.is_restarting() {
            let number = self.number_of(metadata.get(..LONGEST).unwrap_or(metadata));
            self.set_metadata_number(index, generation, number);
        }
    }

    /// After a reset no flow has any.
    pub(super) fn forget_metadata(&mut self) {
        self.metadata = FlowMetadata::default();
        self.work.flow_metadata = Dense::default();
        self.changed();
    }

    fn set_metadata_number(&self, index: FlowIndex, generation: u8, number: u32) {
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
