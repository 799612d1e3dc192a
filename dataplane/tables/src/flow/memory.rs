use super::quota::Quotas;
use super::table::FlowTable;
use super::view::FlowViews;

impl FlowTable {
    /// Bytes of memory by structure, file and private ones. Pages that nobody has touched are no memory yet, but for
    /// those of the file.
    #[must_use]
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let shared = size_of_val(&*self.shared);
        vec![
            ("entries that clients map", self.views.as_ref().map_or(shared, FlowViews::bytes_of_all)),
            ("entries behind those", if self.views.is_some() { shared } else { 0 }),
            ("private entries", size_of_val(&*self.hot)),
            ("tags", size_of_val(&*self.tags)),
            ("translations", size_of_val(&*self.translations)),
            ("counters of other workers", size_of_val(&*self.foreign)),
            ("marks of what was counted on", size_of_val(&*self.touched)),
            ("places in the overflow area", self.hints.bytes()),
            ("free overflow entries", size_of_val(&*self.free_next)),
            ("quotas", self.quotas.as_ref().map_or(0, Quotas::bytes)),
        ]
    }
}
