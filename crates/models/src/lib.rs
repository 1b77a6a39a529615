//! Networks in burn, and what they need to run: weight loading, tokenisation, device choice.
//!
//! | module | holds |
//! |---|---|
//! | [`detector`] | detectors of objects (YOLO v3), weights from Darknet's files |
//! | [`encoder`] | MiniLM-like sentence encoders (BERT), weights from safetensors |
//! | [`static_table`] | a token table distilled from such an encoder, for decisions in microseconds |
//! | [`text`] | [`TextEmbedder`], the port that both implement |
//! | [`device`] | the `device` setting, parsed and opened |
//!
//! Every network follows one shape: a `…Config` that is read from the checkpoint's own
//! `config.json`, `config.init(&device)` for the module, and weights through a key remapper
//! that refuses a checkpoint in which a tensor is missing, left over or of another shape.
//! Nothing here knows an expert, a skill or a policy.

pub mod detector;
pub mod device;
pub mod encoder;
mod error;
pub mod static_table;
pub mod text;

pub use detector::ObjectDetector;
pub use device::DeviceSetting;
pub use encoder::SentenceEncoder;
pub use error::ModelError;
pub use static_table::StaticTable;
pub use text::TextEmbedder;
