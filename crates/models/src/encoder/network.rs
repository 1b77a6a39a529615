//! BERT in burn: embeddings, post-norm transformer layers, mean pooling.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::module::attention;
use burn::tensor::{Bool, Device, Int, Tensor};

use super::config::EncoderConfig;

impl EncoderConfig {
    /// The network with random weights.
    #[must_use]
    pub fn init(&self, device: &Device) -> Encoder {
        let norm = LayerNormConfig::new(self.hidden_size).with_epsilon(self.layer_norm_eps);
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let embedding = |count| EmbeddingConfig::new(count, self.hidden_size).init(device);
        let hidden = self.hidden_size;
        let layers = (0..self.num_hidden_layers)
            .map(|_| Layer {
                query: linear(hidden, hidden),
                key: linear(hidden, hidden),
                value: linear(hidden, hidden),
                attention_output: linear(hidden, hidden),
                attention_norm: norm.init(device),
                up: linear(hidden, self.intermediate_size),
                down: linear(self.intermediate_size, hidden),
                output_norm: norm.init(device),
                heads: self.num_attention_heads,
            })
            .collect();
        Encoder {
            word: embedding(self.vocab_size),
            position: embedding(self.max_position_embeddings),
            segment: embedding(self.type_vocab_size),
            norm: norm.init(device),
            layers,
        }
    }
}

/// A BERT encoder (Devlin et al., 2019): absolute positions, post-norm layers, no pooler.
#[derive(Module, Debug)]
pub struct Encoder {
    word: Embedding,
    position: Embedding,
    segment: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Encoder {
    /// Hidden states of the last layer, `[batch, tokens, hidden]`.
    ///
    /// `ids` are token ids and `mask` is true at real tokens and false at padding, both
    /// `[batch, tokens]` with at most `max_position_embeddings` tokens. States at padding are
    /// meaningless.
    #[must_use]
    pub fn forward(&self, ids: Tensor<2, Int>, mask: Tensor<2, Bool>) -> Tensor<3> {
        let [batch, tokens] = ids.dims();
        let position = self
            .position
            .weight
            .val()
            .narrow(0, 0, tokens)
            .unsqueeze::<3>();
        let segment = self.segment.weight.val().narrow(0, 0, 1).unsqueeze::<3>();
        let mut state = self
            .norm
            .forward(self.word.forward(ids) + position + segment);

        let heads = self.layers.first().map_or(1, |layer| layer.heads);
        let hidden_keys = mask
            .bool_not()
            .reshape([batch, 1, 1, tokens])
            .expand([batch, heads, tokens, tokens]);
        for layer in &self.layers {
            state = layer.forward(state, hidden_keys.clone());
        }
        state
    }

    /// Sentence embeddings, `[batch, hidden]`: the mean of the states at real tokens, scaled to
    /// length 1. Arguments as for [`forward`](Self::forward).
    #[must_use]
    pub fn embed(&self, ids: Tensor<2, Int>, mask: Tensor<2, Bool>) -> Tensor<2> {
        let weight = mask.clone().float().unsqueeze_dim::<3>(2);
        let sum = (self.forward(ids, mask) * weight.clone()).sum_dim(1);
        // A row has at least its special tokens; the clamp only keeps an all-padding row finite.
        let mean = (sum / weight.sum_dim(1).clamp_min(1.0)).squeeze_dim::<2>(1);
        let norm = mean.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        mean / norm
    }
}

/// One transformer layer: self-attention and feed-forward, each added and normalised.
#[derive(Module, Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn forward(&self, state: Tensor<3>, hidden_keys: Tensor<4, Bool>) -> Tensor<3> {
        let [batch, tokens, width] = state.dims();
        let split = |x: Tensor<3>| {
            x.reshape([batch, tokens, self.heads, width / self.heads])
                .swap_dims(1, 2)
        };
        let context = attention(
            split(self.query.forward(state.clone())),
            split(self.key.forward(state.clone())),
            split(self.value.forward(state.clone())),
            Some(hidden_keys),
            None,
            Default::default(),
        );
        let context = context.swap_dims(1, 2).reshape([batch, tokens, width]);
        let state = self
            .attention_norm
            .forward(self.attention_output.forward(context) + state);
        let update = self.down.forward(gelu(self.up.forward(state.clone())));
        self.output_norm.forward(update + state)
    }
}
