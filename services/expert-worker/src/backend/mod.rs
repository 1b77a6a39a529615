//! Backends: what turns an invocation into an answer.

pub mod analysis;
pub mod ocr;
pub mod tesseract;
