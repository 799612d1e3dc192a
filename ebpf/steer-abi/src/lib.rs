//! Map keys and values shared by the steering program and its loader.
