//! The checkpoint's `config.json`.

use serde::Deserialize;

use crate::ModelError;

/// Hyper-parameters of a BERT encoder, read from a checkpoint's `config.json`.
///
/// Keys that have no bearing on inference are ignored: the file belongs to the checkpoint and
/// carries whatever its exporter wrote.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EncoderConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the hidden state and of the embedding.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Longest sequence, in tokens, that has a position embedding.
    pub max_position_embeddings: usize,
    /// Number of segment embeddings; a single text uses the first.
    #[serde(default = "default_type_vocab_size")]
    pub type_vocab_size: usize,
    /// Added to the variance in layer normalisation.
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Activation of the feed-forward network; only `gelu` (the exact one) is supported.
    #[serde(default = "default_hidden_act")]
    pub hidden_act: String,
    /// How positions are encoded; only `absolute` is supported.
    #[serde(default = "default_position_embedding_type")]
    pub position_embedding_type: String,
}

impl EncoderConfig {
    /// Parses and validates a `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Config`] if it is malformed, a size is zero, the heads do not divide the
    /// width, or the network is of a kind that is not supported.
    pub fn from_json(json: &[u8]) -> Result<Self, ModelError> {
        let config: Self =
            serde_json::from_slice(json).map_err(|error| ModelError::config(&error))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ModelError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(ModelError::config(&format!("{name} is zero")));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(ModelError::config(&format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            )));
        }
        if self.hidden_act != "gelu" {
            return Err(ModelError::config(&format!(
                "hidden_act `{}`",
                self.hidden_act
            )));
        }
        if self.position_embedding_type != "absolute" {
            return Err(ModelError::config(&format!(
                "position_embedding_type `{}`",
                self.position_embedding_type
            )));
        }
        Ok(())
    }
}

fn default_type_vocab_size() -> usize {
    2
}

fn default_layer_norm_eps() -> f64 {
    1e-12
}

fn default_hidden_act() -> String {
    "gelu".to_owned()
}

fn default_position_embedding_type() -> String {
    "absolute".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn valid() -> Value {
        json!({
            "model_type": "bert", "vocab_size": 100, "hidden_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 3, "intermediate_size": 48, "max_position_embeddings": 64,
        })
    }

    fn parse(value: &Value) -> Result<EncoderConfig, ModelError> {
        EncoderConfig::from_json(value.to_string().as_bytes())
    }

    #[test]
    fn defaults_are_bert_s() {
        let config = parse(&valid()).unwrap();
        assert_eq!(config.type_vocab_size, 2);
        assert!((config.layer_norm_eps - 1e-12).abs() < 1e-18);
    }

    #[test]
    fn each_bad_value_is_named() {
        for (key, value, expected) in [
            ("hidden_size", json!(25), "not a multiple"),
            ("num_hidden_layers", json!(0), "num_hidden_layers is zero"),
            ("hidden_act", json!("relu"), "hidden_act `relu`"),
            (
                "position_embedding_type",
                json!("relative_key"),
                "relative_key",
            ),
            ("vocab_size", json!("many"), "invalid type"),
        ] {
            let mut config = valid();
            config[key] = value;
            let error = parse(&config).unwrap_err().to_string();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }
}
