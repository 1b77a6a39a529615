//! Darknet's `.cfg` files: sections of `key = value` lines, one section a layer.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::ModelError;

/// Most elements that one layer may give: what the files of real networks stay well below.
const MAX_ELEMENTS: usize = 1 << 26;

/// Channels, height and width of what a layer gives.
pub type Shape = [usize; 3];

/// A network of the YOLO v3 family, read from its `.cfg`.
#[derive(Clone, Debug, PartialEq)]
pub struct DarknetConfig {
    /// What it reads.
    pub input: Shape,
    /// Its layers, in order.
    pub layers: Vec<Layer>,
    /// What each layer gives.
    pub shapes: Vec<Shape>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A convolution with a bias or, instead of it, batch normalisation.
    Convolution(Convolution),
    /// The largest value of each window. The windows reach over the right and the bottom edge.
    MaxPool {
        /// Side of the window.
        size: usize,
        /// Step of the window.
        stride: usize,
    },
    /// Every value repeated.
    Upsample {
        /// How often, along each axis.
        factor: usize,
    },
    /// The results of earlier layers, by number, side by side in the channels.
    Route(Vec<usize>),
    /// Reads objects out of the layer before it.
    Head(Head),
}

/// A convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels that it reads.
    pub inputs: usize,
    /// Channels that it gives.
    pub filters: usize,
    /// Side of the kernel.
    pub size: usize,
    /// Step of the kernel.
    pub stride: usize,
    /// Zeros on every side.
    pub padding: usize,
    /// Whether batch normalisation follows.
    pub normalised: bool,
    /// Whether a leaky rectifier follows.
    pub leaky: bool,
}

/// A head: per cell of the grid and anchor four numbers for the box, one for whether there is an
/// object, and one a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Width and height of each anchor, in pixels of the network's input.
    pub anchors: Vec<[f32; 2]>,
    /// Number of classes.
    pub classes: usize,
}

impl DarknetConfig {
    /// Parses and checks a `.cfg`.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming the line of the section that is malformed, does not fit the
    /// layers before it, or is of a kind that is not supported.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let mut sections = sections(text)?.into_iter();
        let network = sections
            .next()
            .filter(|section| matches!(section.kind.as_str(), "net" | "network"))
            .ok_or_else(|| ModelError::config("the first section is not [net]"))?;
        let mut config = Self {
            input: [
                network.positive("channels", None)?,
                network.positive("height", None)?,
                network.positive("width", None)?,
            ],
            layers: Vec::new(),
            shapes: Vec::new(),
        };
        for section in sections {
            let layer = config.layer(&section)?;
            let shape = shape(&layer, config.input, &config.shapes).ok_or_else(|| {
                section.problem("its size does not fit the layers before it".to_owned())
            })?;
            config.layers.push(layer);
            config.shapes.push(shape);
        }
        if config.heads().next().is_none() {
            return Err(ModelError::config("the network has no [yolo] section"));
        }
        Ok(config)
    }

    /// Its heads.
    pub fn heads(&self) -> impl Iterator<Item = &Head> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Head(head) => Some(head),
            _ => None,
        })
    }

    /// Its convolutions.
    pub fn convolutions(&self) -> impl Iterator<Item = &Convolution> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Convolution(convolution) => Some(convolution),
            _ => None,
        })
    }

    /// Whether the network can read images of another height and width, as well: the layers that
    /// are put side by side must still be of one size.
    #[must_use]
    pub fn accepts(&self, [height, width]: [usize; 2]) -> bool {
        let input = [self.input[0], height, width];
        let mut shapes = Vec::with_capacity(self.layers.len());
        height.min(width) > 0
            && self.layers.iter().all(|layer| {
                let shape = shape(layer, input, &shapes);
                shapes.extend(shape);
                shape.is_some()
            })
    }

    fn last(&self) -> Shape {
        self.shapes.last().copied().unwrap_or(self.input)
    }

    fn layer(&self, section: &Section) -> Result<Layer, ModelError> {
        Ok(match section.kind.as_str() {
            "convolutional" => {
                let size = section.positive("size", Some(1))?;
                let padding = match section.number("pad", Some(0))? {
                    0 => section.number("padding", Some(0))?,
                    _ => size / 2,
                };
                Layer::Convolution(Convolution {
                    inputs: self.last()[0],
                    filters: section.positive("filters", None)?,
                    size,
                    stride: section.positive("stride", Some(1))?,
                    padding,
                    normalised: section.number("batch_normalize", Some(0))? != 0,
                    leaky: section.leaky()?,
                })
            }
            "maxpool" => {
                let stride = section.positive("stride", Some(1))?;
                Layer::MaxPool {
                    size: section.positive("size", Some(stride))?,
                    stride,
                }
            }
            "upsample" => Layer::Upsample {
                factor: section.positive("stride", Some(2))?,
            },
            "route" => Layer::Route(self.route(section)?),
            "yolo" => Layer::Head(section.head()?),
            other => return Err(section.problem(format!("[{other}] is not supported"))),
        })
    }

    /// Layers are numbered from 0 or, where negative, back from this one.
    fn route(&self, section: &Section) -> Result<Vec<usize>, ModelError> {
        let here = self.layers.len();
        let resolve = |number: isize| {
            let from = if number < 0 { here } else { 0 };
            from.checked_add_signed(number)
                .filter(|&layer| layer < here)
        };
        let routed: Vec<usize> = section
            .list::<isize>("layers")?
            .into_iter()
            .map(|number| {
                resolve(number)
                    .ok_or_else(|| section.problem(format!("there is no layer {number}")))
            })
            .collect::<Result<_, _>>()?;
        if routed.is_empty() {
            return Err(section.problem("it names no layer".to_owned()));
        }
        Ok(routed)
    }
}

/// What a layer gives behind layers that give `shapes`; none where it does not fit.
fn shape(layer: &Layer, input: Shape, shapes: &[Shape]) -> Option<Shape> {
    let [channels, height, width] = shapes.last().copied().unwrap_or(input);
    let slide = |length: usize, padding: usize, size: usize, stride: usize| {
        (length + padding)
            .checked_sub(size)
            .map(|rest| rest / stride + 1)
    };
    let shape = match layer {
        Layer::Convolution(c) => [
            c.filters,
            slide(height, 2 * c.padding, c.size, c.stride)?,
            slide(width, 2 * c.padding, c.size, c.stride)?,
        ],
        Layer::MaxPool { size, stride } => [
            channels,
            slide(height, size - 1, *size, *stride)?,
            slide(width, size - 1, *size, *stride)?,
        ],
        Layer::Upsample { factor } => [
            channels,
            height.checked_mul(*factor)?,
            width.checked_mul(*factor)?,
        ],
        Layer::Route(layers) => {
            let [_, height, width] = *shapes.get(*layers.first()?)?;
            let mut channels = 0;
            for &layer in layers {
                let [more, h, w] = *shapes.get(layer)?;
                if [h, w] != [height, width] {
                    return None;
                }
                channels += more;
            }
            [channels, height, width]
        }
        Layer::Head(head) => {
            if head.anchors.len() * (5 + head.classes) != channels {
                return None;
            }
            [channels, height, width]
        }
    };
    let elements = shape
        .iter()
        .try_fold(1_usize, |all, &n| all.checked_mul(n))?;
    (1..=MAX_ELEMENTS).contains(&elements).then_some(shape)
}

/// A section of the file.
struct Section {
    /// What stands in its brackets.
    kind: String,
    /// Where it begins, from 1.
    line: usize,
    values: BTreeMap<String, String>,
}

fn sections(text: &str) -> Result<Vec<Section>, ModelError> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let malformed = || ModelError::config(&format!("line {}: {line:?}", index + 1));
        if let Some(kind) = line.strip_prefix('[') {
            let kind = kind.strip_suffix(']').ok_or_else(malformed)?;
            sections.push(Section {
                kind: kind.trim().to_owned(),
                line: index + 1,
                values: BTreeMap::new(),
            });
        } else {
            let (key, value) = line.split_once('=').ok_or_else(malformed)?;
            let section = sections.last_mut().ok_or_else(malformed)?;
            section
                .values
                .insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    Ok(sections)
}

impl Section {
    fn problem(&self, reason: String) -> ModelError {
        ModelError::config(&format!("[{}] at line {}: {reason}", self.kind, self.line))
    }

    fn number(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        match self.values.get(key) {
            Some(text) => self.read(key, text),
            None => default.ok_or_else(|| self.problem(format!("{key} is missing"))),
        }
    }

    fn positive(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        match self.number(key, default)? {
            0 => Err(self.problem(format!("{key} is zero"))),
            // Products of a few of them cannot overflow.
            number if number > MAX_ELEMENTS => Err(self.problem(format!("{key} is too large"))),
            number => Ok(number),
        }
    }

    fn read<T: FromStr>(&self, key: &str, text: &str) -> Result<T, ModelError> {
        text.trim()
            .parse()
            .map_err(|_| self.problem(format!("{key}: {text:?} is no number")))
    }

    /// Numbers separated by commas.
    fn list<T: FromStr>(&self, key: &str) -> Result<Vec<T>, ModelError> {
        let text = self.values.get(key).map_or("", String::as_str);
        text.split(',')
            .filter(|part| !part.trim().is_empty())
            .map(|part| self.read(key, part))
            .collect()
    }

    fn leaky(&self) -> Result<bool, ModelError> {
        match self.values.get("activation").map(String::as_str) {
            Some("leaky") => Ok(true),
            Some("linear") => Ok(false),
            other => Err(self.problem(format!("activation {other:?} is not supported"))),
        }
    }

    fn head(&self) -> Result<Head, ModelError> {
        let anchors: Vec<f32> = self.list("anchors")?;
        let mask: Vec<usize> = self.list("mask")?;
        let anchors = mask
            .into_iter()
            .map(|index| match anchors.chunks_exact(2).nth(index) {
                Some(&[width, height]) if width > 0.0 && height > 0.0 => Ok([width, height]),
                _ => Err(self.problem(format!("there is no anchor {index}"))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Head {
            anchors,
            classes: self.positive("classes", None)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "
[net]
# read by training only
batch=1
width=32
height=16
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=1

[upsample]
stride=2

[route]
layers = -1, 2

[convolutional]
filters=14
size=1
pad=1
activation=linear

[yolo]
mask = 1,0
anchors = 2,3, 8,9
classes=2
";

    #[test]
    fn shapes_follow_the_layers() {
        let config = DarknetConfig::parse(SMALL).unwrap();
        assert_eq!(config.input, [3, 16, 32]);
        assert_eq!(
            config.shapes,
            [
                [4, 8, 16],
                [4, 8, 16],
                [4, 16, 32],
                [8, 16, 32],
                [14, 16, 32],
                [14, 16, 32]
            ]
        );
        assert_eq!(config.layers[3], Layer::Route(vec![2, 2]));
        let head = config.heads().next().unwrap();
        assert_eq!(head.anchors, [[8.0, 9.0], [2.0, 3.0]]);
        assert_eq!(config.convolutions().count(), 2);
    }

    #[test]
    fn other_sizes_are_accepted_where_routes_fit() {
        let config = DarknetConfig::parse(
            &SMALL
                .replace("-1, 2", "-1, 0")
                .replacen("stride=2\npad=1", "stride=1\npad=1", 1)
                .replacen("size=2\nstride=1", "size=2\nstride=2", 1),
        )
        .unwrap();
        assert!(config.accepts([16, 32]) && config.accepts([64, 20]));
        assert!(!config.accepts([17, 32]), "halved and doubled it is 16");
        assert!(!config.accepts([0, 32]));
    }

    #[test]
    fn each_bad_section_is_named() {
        for (from, to, word) in [
            ("[net]", "[convolutional]", "[net]"),
            ("[upsample]", "[lstm]", "[lstm] at line 21"),
            ("[upsample]", "[upsample", "line 21"),
            ("layers = -1, 2", "layers = 4", "no layer 4"),
            ("layers = -1, 2", "layers = -1, 0", "does not fit"),
            ("layers = -1, 2", "", "names no layer"),
            ("filters=14", "filters=15", "does not fit"),
            ("filters=14", "filters=9999999999", "too large"),
            ("mask = 1,0", "mask = 1,2", "no anchor 2"),
            ("classes=2", "classes=two", "classes"),
            ("activation=leaky", "activation=mish", "mish"),
            ("size=3", "size=0", "size is zero"),
            ("width=32", "width 32", "width 32"),
        ] {
            let error = DarknetConfig::parse(&SMALL.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(word), "{to}: {error}");
        }
    }
}
