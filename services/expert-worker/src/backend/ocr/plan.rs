//! ONNX models that are optimised once per input shape.
//!
//! tract plans a graph for concrete dimensions: kernels are chosen and weights packed for them.
//! A plan costs far more than one run, so plans are kept, the least recently used one giving way
//! when there are too many. Callers keep the number of distinct shapes small by bucketing.

use std::{fs::File, io::BufReader, path::Path, sync::Arc};

use moka::{policy::EvictionPolicy, sync::Cache};
use tract_onnx::{
    pb::{self, TensorShapeProto, tensor_shape_proto, type_proto},
    prelude::*,
};

use super::{OcrError, depthwise};

/// Input dimensions: batch, channels, height, width.
pub(super) type Shape = [usize; 4];

type Plan = TypedRunnableModel<TypedModel>;

/// A model with one image input and one output, and its plans.
pub(super) struct ShapedModel {
    proto: pb::ModelProto,
    plans: Cache<Shape, Arc<Plan>>,
}

impl ShapedModel {
    /// Reads the model at `path` and keeps up to `capacity` plans of it.
    pub(super) fn load(what: &'static str, path: &Path, capacity: u64) -> Result<Self, OcrError> {
        let file = File::open(path).map_err(|_| OcrError::Missing {
            what,
            path: path.to_path_buf(),
        })?;
        let invalid = |reason: String| OcrError::Model {
            path: path.to_path_buf(),
            reason,
        };
        let mut proto = onnx()
            .proto_model_for_read(&mut BufReader::new(file))
            .map_err(|error| invalid(format!("{error:#}")))?;
        let graph = proto
            .graph
            .as_mut()
            .ok_or_else(|| invalid("it has no graph".into()))?;
        // Shapes that the exporter recorded name its own symbols, which do not unify with the
        // concrete dimensions of a plan.
        graph.value_info.clear();
        let plans = Cache::builder()
            .max_capacity(capacity)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Ok(Self { proto, plans })
    }

    /// An entry of the model's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        let entry = self
            .proto
            .metadata_props
            .iter()
            .find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    /// Makes the output the operand of the final operator, if that is `operator`. Returns whether
    /// it was.
    pub(super) fn strip_final(&mut self, operator: &str) -> bool {
        let Some(graph) = self.proto.graph.as_mut() else {
            return false;
        };
        let Some(output) = graph.output.first_mut() else {
            return false;
        };
        let mut name = output.name.as_str();
        // Exporters put Identity nodes between the last operator and the output.
        while let Some(node) = graph
            .node
            .iter()
            .find(|node| node.output.iter().any(|o| o == name))
        {
            let Some(operand) = node.input.first() else {
                return false;
            };
            if node.op_type == operator {
                output.name = operand.clone();
                return true;
            }
            if node.op_type != "Identity" {
                return false;
            }
            name = operand;
        }
        false
    }

    /// Plans for `shape`, if that has not been done.
    pub(super) fn prepare(&self, shape: Shape) -> Result<(), OcrError> {
        self.plan(shape).map(drop)
    }

    /// Runs the model on one input of dimensions `shape`, its values in row-major order.
    pub(super) fn run(&self, shape: Shape, values: &[f32]) -> Result<Output, OcrError> {
        let input = Tensor::from_shape(&shape, values).map_err(|error| failed(&error))?;
        let mut outputs = self
            .plan(shape)?
            .run(tvec!(input.into_tvalue()))
            .map_err(|error| failed(&error))?;
        match outputs.pop() {
            Some(value) if value.datum_type() == f32::datum_type() => Ok(Output(value)),
            _ => Err(OcrError::Inference(
                "the model has no output of 32-bit floats".into(),
            )),
        }
    }

    fn plan(&self, shape: Shape) -> Result<Arc<Plan>, OcrError> {
        // Concurrent callers of one shape wait for a single optimisation.
        self.plans
            .try_get_with(shape, || self.optimise(shape).map(Arc::new))
            .map_err(|error: Arc<TractError>| failed(&error))
    }

    fn optimise(&self, shape: Shape) -> TractResult<Plan> {
        let mut proto = self.proto.clone();
        let input = proto
            .graph
            .as_mut()
            .and_then(|graph| graph.input.first_mut());
        let kind = input
            .and_then(|input| input.r#type.as_mut())
            .and_then(|t| t.value.as_mut());
        if let Some(type_proto::Value::TensorType(tensor)) = kind {
            tensor.shape = Some(concrete(shape));
        }
        let mut model = onnx()
            .with_ignore_output_shapes(true)
            .model_for_proto_model(&proto)?
            .into_typed()?
            .into_decluttered()?;
        depthwise::replace(&mut model)?;
        model.into_optimized()?.into_runnable()
    }
}

/// What a model put out.
pub(super) struct Output(TValue);

impl Output {
    /// Size of each dimension.
    pub(super) fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// The values in row-major order.
    pub(super) fn values(&self) -> Result<&[f32], OcrError> {
        self.0.as_slice::<f32>().map_err(|error| failed(&error))
    }
}

fn concrete(shape: Shape) -> TensorShapeProto {
    let dim = shape
        .into_iter()
        .map(|size| tensor_shape_proto::Dimension {
            value: i64::try_from(size)
                .ok()
                .map(tensor_shape_proto::dimension::Value::DimValue),
            ..Default::default()
        })
        .collect();
    TensorShapeProto { dim }
}

fn failed(error: &TractError) -> OcrError {
    OcrError::Inference(format!("{error:#}"))
}
