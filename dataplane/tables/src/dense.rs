//! A table indexed by a small number, in chunks that snapshots share.

use std::sync::Arc;

const CHUNK: usize = 64;

/// Entries by index. Cloning copies one pointer per 64 entries; changing an entry copies its chunk once per
/// published snapshot.
#[derive(Clone)]
pub struct Dense<T> {
    chunks: Vec<Option<Arc<[Option<T>; CHUNK]>>>,
}

impl<T> Default for Dense<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Clone> Dense<T> {
    /// The entry at `index`, if there is one.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.as_ref()?[index % CHUNK].as_ref()
    }

    /// Sets or clears the entry at `index`.
    pub fn set(&mut self, index: usize, value: Option<T>) {
        let chunk = index / CHUNK;
        if chunk >= self.chunks.len() {
            if value.is_none() {
                return;
            }
            self.chunks.resize_with(chunk + 1, || None);
        }
        let chunk = self.chunks[chunk].get_or_insert_with(|| Arc::new(std::array::from_fn(|_| None)));
        Arc::make_mut(chunk)[index % CHUNK] = value;
    }

    /// The entry at `index` for changing it in place, if there is one.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let chunk = self.chunks.get_mut(index / CHUNK)?.as_mut()?;
        chunk[index % CHUNK].as_ref()?;
        Arc::make_mut(chunk)[index % CHUNK].as_mut()
    }

    /// Entries from `first` on, with their indexes, in order.
    pub fn iter_from(&self, first: usize) -> impl Iterator<Item = (usize, &T)> {
        let skip = first / CHUNK;
        self.chunks
            .iter()
            .enumerate()
            .skip(skip)
            .filter_map(|(number, chunk)| Some((number, chunk.as_ref()?)))
            .flat_map(|(number, chunk)| {
                chunk
                    .iter()
                    .enumerate()
                    .filter_map(move |(i, entry)| Some((number * CHUNK + i, entry.as_ref()?)))
            })
            .filter(move |(index, _)| *index >= first)
    }

    /// All entries with their indexes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.iter_from(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Dense;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn behaves_like_a_map_and_clones_are_independent(
            ops in prop::collection::vec((0..300usize, prop::option::of(any::<u16>())), 0..200),
        ) {
            let mut table = Dense::default();
            let mut model = BTreeMap::new();
            let mut kept = (table.clone(), model.clone());
            for (step, (index, value)) in ops.into_iter().enumerate() {
                table.set(index, value);
                match value {
                    Some(value) => { model.insert(index, value); }
                    None => { model.remove(&index); }
                }
                if step == 50 {
                    kept = (table.clone(), model.clone());
                }
            }
            let all = |t: &Dense<u16>| t.iter().map(|(i, v)| (i, *v)).collect::<Vec<_>>();
            prop_assert_eq!(all(&table), model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(all(&kept.0), kept.1.into_iter().collect::<Vec<_>>());
            let from: Vec<_> = table.iter_from(100).map(|(i, _)| i).collect();
            prop_assert_eq!(from, model.range(100..).map(|(i, _)| *i).collect::<Vec<_>>());
            for index in 0..300 {
                prop_assert_eq!(table.get(index), model.get(&index));
            }
        }
    }
}
