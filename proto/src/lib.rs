//! The generated code of the `maestro.v1` protocol, and nothing else.

/// Messages, clients and servers of `maestro.v1`.
pub mod v1 {
    tonic::include_proto!("maestro.v1");

    /// The compiled protos, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/maestro.v1.bin"));
}
