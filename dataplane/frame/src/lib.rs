//! Owned packet buffers, pools and batches.
