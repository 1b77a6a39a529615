//! Servers and clients against each other over real loopback connections.

mod blobs;
mod clients;
mod router;
mod serve;
mod world;
