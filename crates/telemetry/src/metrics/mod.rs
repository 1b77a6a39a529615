//! Every metric of Maestro, as enums.
//!
//! Names end in their unit. Labels are typed and low-cardinality: names from the registry and
//! closed sets of words; ids go into spans, never into labels.
//!
//! Each call looks the metric up in the recorder (well under a microsecond). A hot path whose
//! labels do not change keeps a [`HistogramHandle`].

/// Declares an enum of metrics: `Variant => "name", "description";`.
macro_rules! declare {
    ($(#[$doc:meta])* $type:ident { $($variant:ident => $name:literal, $description:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $(
                #[doc = concat!("`", $name, "`: ", $description)]
                $variant,
            )+
        }

        impl $type {
            /// Every metric of this type.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Name as exposed, unit included.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it says, for people.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $description,)+
                }
            }
        }
    };
}

mod counter;
mod gauge;
mod histogram;
mod label;

use metrics::{Key, Level, Metadata};

pub use counter::Counter;
pub use gauge::{Gauge, GaugeHandle, Held};
pub use histogram::{Histogram, HistogramHandle};
pub use label::Label;

/// What the recorder learns of the source of a metric.
static METADATA: Metadata<'static> =
    Metadata::new("maestro", Level::INFO, Some("maestro_telemetry::metrics"));

fn key(name: &'static str, labels: &[Label<'_>]) -> Key {
    match labels {
        [] => Key::from_static_name(name),
        labels => {
            let labels: Vec<metrics::Label> =
                labels.iter().map(|label| label.to_metrics()).collect();
            Key::from_parts(name, labels)
        }
    }
}

/// Tells the recorder what every metric means.
pub(crate) fn describe_all() {
    metrics::with_recorder(|recorder| {
        for counter in Counter::ALL {
            recorder.describe_counter(counter.name().into(), None, counter.description().into());
        }
        for gauge in Gauge::ALL {
            recorder.describe_gauge(gauge.name().into(), None, gauge.description().into());
        }
        for histogram in Histogram::ALL {
            recorder.describe_histogram(
                histogram.name().into(),
                None,
                histogram.description().into(),
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names = BTreeSet::new();
        for counter in Counter::ALL {
            assert!(counter.name().ends_with("_total"), "{}", counter.name());
            assert!(names.insert(counter.name()));
        }
        for gauge in Gauge::ALL {
            assert!(names.insert(gauge.name()));
        }
        for histogram in Histogram::ALL {
            let unit = histogram.name().rsplit('_').next().unwrap();
            assert!(
                ["seconds", "bytes", "decisions", "nats", "ratio"].contains(&unit),
                "{}",
                histogram.name()
            );
            assert!(names.insert(histogram.name()));
        }
        names.remove("registry_propagation_seconds");
        for name in names {
            assert!(name.starts_with("maestro_"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
        }
    }

    #[test]
    fn buckets_rise() {
        for histogram in Histogram::ALL {
            let buckets = histogram.buckets();
            assert!(
                buckets.windows(2).all(|pair| pair[0] < pair[1]),
                "{}",
                histogram.name()
            );
        }
    }

    #[test]
    fn propagation_is_measured_finely_around_its_aim() {
        let buckets = Histogram::RegistryPropagation.buckets();
        assert_eq!((buckets[0], buckets[buckets.len() - 1]), (0.001, 10.0));
        assert!(buckets.contains(&0.09) && buckets.contains(&0.1) && buckets.contains(&0.11));
    }
}
