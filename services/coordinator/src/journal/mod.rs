//! Adapters of the port `Journal`.

mod memory;

pub use memory::MemoryJournal;
