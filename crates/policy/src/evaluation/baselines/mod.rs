//! Routers to compare a policy with, over the same tasks. Those in [`fixed`] and [`ensemble`]
//! need nothing but the matrix; those in [`knn`] and [`mlp`] learn from a training part.

pub mod ensemble;
pub mod fixed;
pub mod knn;
pub mod mlp;
pub mod predicted;
