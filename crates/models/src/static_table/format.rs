//! The table's file: safetensors with the rows, their scales and the vocabulary.
//!
//! | tensor | type and shape | meaning |
//! |---|---|---|
//! | `vectors` | I8 `[tokens, dim]` | rows, quantised symmetrically |
//! | `scales` | F32 `[tokens]` | what the integers of a row are multiplied by |
//! | `vocab` | U8 `[bytes]` | the tokens, UTF-8, one a line, in the order of the rows |
//!
//! The metadata has `format` = `maestro-static-table` and `version` = `1`.

use std::ops::Range;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::ModelError;

const FORMAT: &str = "maestro-static-table";
const VERSION: &str = "1";

/// Where the parts stand in a table's bytes, checked against one another.
#[derive(Debug, PartialEq)]
pub(super) struct Layout {
    /// The rows' bytes.
    pub(super) vectors: Range<usize>,
    /// Length of a row.
    pub(super) dim: usize,
    /// One factor a row; finite.
    pub(super) scales: Vec<f32>,
    /// One token a row; all different.
    pub(super) tokens: Vec<String>,
}

/// Parses a table's file.
///
/// # Errors
/// [`ModelError::Table`] with the first thing that is wrong.
pub(super) fn parse(bytes: &[u8]) -> Result<Layout, ModelError> {
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| ModelError::table(&error))?;
    check_version(&metadata)?;
    // Offsets count from the end of the header, which an 8-byte length precedes.
    let data = 8 + header;

    let vectors = tensor(&metadata, "vectors", Dtype::I8)?;
    let [rows, dim] = vectors.shape[..] else {
        return Err(ModelError::table("vectors is not a matrix"));
    };
    if dim == 0 {
        return Err(ModelError::table("vectors have no dimension"));
    }
    let scales = tensor(&metadata, "scales", Dtype::F32)?;
    if scales.shape != [rows] {
        return Err(ModelError::table(&format!(
            "{rows} rows, scales of shape {:?}",
            scales.shape
        )));
    }
    let scales = part(bytes, &range(scales, data))?
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect::<Vec<_>>();
    if scales.iter().any(|scale| !scale.is_finite()) {
        return Err(ModelError::table("a scale is not finite"));
    }

    let vocab = tensor(&metadata, "vocab", Dtype::U8)?;
    let vocab = std::str::from_utf8(part(bytes, &range(vocab, data))?)
        .map_err(|error| ModelError::table(&format!("vocab: {error}")))?;
    let tokens: Vec<String> = vocab.split('\n').map(str::to_owned).collect();
    if tokens.len() != rows {
        return Err(ModelError::table(&format!(
            "{rows} rows, {} tokens",
            tokens.len()
        )));
    }

    let vectors = range(vectors, data);
    part(bytes, &vectors)?;
    Ok(Layout {
        vectors,
        dim,
        scales,
        tokens,
    })
}

fn check_version(metadata: &Metadata) -> Result<(), ModelError> {
    let field = |name| {
        metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(name))
            .map_or("", String::as_str)
    };
    match (field("format"), field("version")) {
        (FORMAT, VERSION) => Ok(()),
        (format, version) => Err(ModelError::table(&format!(
            "format `{format}` version `{version}`, expected `{FORMAT}` version `{VERSION}`"
        ))),
    }
}

fn tensor<'a>(
    metadata: &'a Metadata,
    name: &str,
    dtype: Dtype,
) -> Result<&'a TensorInfo, ModelError> {
    let info = metadata
        .info(name)
        .ok_or_else(|| ModelError::table(&format!("tensor `{name}` is missing")))?;
    if info.dtype != dtype {
        return Err(ModelError::table(&format!(
            "{name} is {:?}, not {dtype:?}",
            info.dtype
        )));
    }
    Ok(info)
}

fn range(info: &TensorInfo, data: usize) -> Range<usize> {
    data + info.data_offsets.0..data + info.data_offsets.1
}

fn part<'a>(bytes: &'a [u8], range: &Range<usize>) -> Result<&'a [u8], ModelError> {
    bytes
        .get(range.clone())
        .ok_or_else(|| ModelError::table("the file is cut off"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use safetensors::tensor::TensorView;

    use super::*;

    /// A table of `dim` columns with the given rows.
    pub(crate) fn file(version: &str, dim: usize, rows: &[(&str, Vec<i8>, f32)]) -> Vec<u8> {
        let vectors: Vec<u8> = rows
            .iter()
            .flat_map(|row| row.1.iter().map(|x| x.cast_unsigned()))
            .collect();
        let scales: Vec<u8> = rows.iter().flat_map(|row| row.2.to_le_bytes()).collect();
        let vocab = rows
            .iter()
            .map(|row| row.0)
            .collect::<Vec<_>>()
            .join("\n")
            .into_bytes();
        let view = |dtype, shape, data| TensorView::new(dtype, shape, data).unwrap();
        let tensors = [
            ("vectors", view(Dtype::I8, vec![rows.len(), dim], &vectors)),
            ("scales", view(Dtype::F32, vec![rows.len()], &scales)),
            ("vocab", view(Dtype::U8, vec![vocab.len()], &vocab)),
        ];
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("version".to_owned(), version.to_owned()),
        ]);
        safetensors::serialize(tensors, Some(metadata)).unwrap()
    }

    fn rows() -> Vec<(&'static str, Vec<i8>, f32)> {
        vec![
            ("[UNK]", vec![0, 0], 0.0),
            ("red", vec![127, 1], 0.5),
            ("##s", vec![-2, 3], 0.25),
        ]
    }

    #[test]
    fn a_written_table_is_read() {
        let bytes = file("1", 2, &rows());
        let layout = parse(&bytes).unwrap();
        assert_eq!(layout.dim, 2);
        assert_eq!(layout.scales, [0.0, 0.5, 0.25]);
        assert_eq!(layout.tokens, ["[UNK]", "red", "##s"]);
        assert_eq!(bytes[layout.vectors], [0, 0, 127, 1, 254, 3]);
    }

    #[test]
    fn faults_are_named() {
        let mut infinite = rows();
        infinite[1].2 = f32::INFINITY;
        let mut split = rows();
        split[1].0 = "re\nd";
        for (bytes, expected) in [
            (file("2", 2, &rows()), "version `2`"),
            (file("1", 2, &infinite), "not finite"),
            (file("1", 2, &split), "3 rows, 4 tokens"),
            (file("1", 0, &[("a", vec![], 1.0)]), "no dimension"),
        ] {
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn another_kind_of_file_is_refused() {
        let view = TensorView::new(Dtype::U8, vec![1], &[0]).unwrap();
        let bytes = safetensors::serialize([("weight", view)], None).unwrap();
        assert!(parse(&bytes).unwrap_err().to_string().contains("format ``"));
        assert!(matches!(
            parse(b"no safetensors"),
            Err(ModelError::Table { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            cut in 0_usize..400, flips in proptest::collection::vec((0_usize..400, any::<u8>()), 0..4)
        ) {
            let mut bytes = file("1", 2, &rows());
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(cut);
            if let Ok(layout) = parse(&bytes) {
                prop_assert_eq!(layout.scales.len(), layout.tokens.len());
                prop_assert_eq!(layout.vectors.len(), layout.tokens.len() * layout.dim);
            }
        }
    }
}
