//! The parts of `maestro record`: the pool that is asked, one call of it, the file it goes into.

pub(crate) mod call;
mod output;
mod pool;

pub(crate) use output::Output;
pub(crate) use pool::Pool;
