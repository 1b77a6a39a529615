//! The `device` setting: which processor a network runs on.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::ModelError;

/// A parsed `device` setting.
///
/// Written `cpu` (or `flex`, burn's name for it), `vulkan`, `cuda`, `rocm`; a GPU may carry its
/// number after a colon, `vulkan:1`. Parsing accepts every kind, so that a configuration can be
/// checked on any machine; [`open`](Self::open) refuses what the binary was built without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceSetting {
    /// burn's pure-Rust CPU backend.
    #[default]
    Cpu,
    /// A GPU through Vulkan; `None` leaves the choice to the driver.
    Vulkan(Option<usize>),
    /// An NVIDIA GPU through CUDA, by its number.
    Cuda(usize),
    /// An AMD GPU through ROCm, by its number.
    Rocm(usize),
}

impl DeviceSetting {
    /// The burn device.
    ///
    /// # Errors
    /// [`ModelError::DeviceNotBuilt`] if the cargo feature that brings the backend is off;
    /// [`ModelError::DeviceMissing`] if Vulkan knows no such GPU here.
    pub fn open(self) -> Result<Device, ModelError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "vulkan")]
            Self::Vulkan(number) => self.open_vulkan(number),
            #[cfg(not(feature = "vulkan"))]
            Self::Vulkan(_) => Err(self.not_built("vulkan")),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => Ok(Device::cuda(number)),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(self.not_built("cuda")),
            #[cfg(feature = "rocm")]
            Self::Rocm(number) => Ok(Device::rocm(number)),
            #[cfg(not(feature = "rocm"))]
            Self::Rocm(_) => Err(self.not_built("rocm")),
        }
    }

    /// Asks the driver first: burn panics when it first uses an adapter that is not there.
    #[cfg(feature = "vulkan")]
    fn open_vulkan(self, number: Option<usize>) -> Result<Device, ModelError> {
        use burn::tensor::{DeviceKind, DeviceType};
        let kind = number.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu);
        let device = Device::vulkan(kind);
        let found: Vec<Device> = Device::enumerate(DeviceType::Vulkan).into_iter().collect();
        // The default is whichever the driver prefers, so that any one will do.
        let exists = match number {
            None => !found.is_empty(),
            Some(_) => found.contains(&device),
        };
        exists
            .then_some(device)
            .ok_or_else(|| ModelError::DeviceMissing {
                device: self.to_string(),
                found: found.len(),
            })
    }

    #[cfg(not(all(feature = "vulkan", feature = "cuda", feature = "rocm")))]
    fn not_built(self, feature: &'static str) -> ModelError {
        ModelError::DeviceNotBuilt {
            device: self.to_string(),
            feature,
        }
    }
}

/// Parses a setting and opens its device in one go.
///
/// # Errors
/// As [`DeviceSetting::from_str`] and [`DeviceSetting::open`].
pub fn open(setting: &str) -> Result<Device, ModelError> {
    setting.parse::<DeviceSetting>()?.open()
}

impl FromStr for DeviceSetting {
    type Err = ModelError;

    fn from_str(setting: &str) -> Result<Self, ModelError> {
        let unknown = || ModelError::UnknownDevice {
            setting: setting.to_owned(),
        };
        let (kind, number) = match setting.split_once(':') {
            None => (setting, None),
            Some((kind, number)) => (kind, Some(number.parse().map_err(|_| unknown())?)),
        };
        match (kind, number) {
            ("cpu" | "flex", None) => Ok(Self::Cpu),
            ("vulkan", number) => Ok(Self::Vulkan(number)),
            ("cuda", number) => Ok(Self::Cuda(number.unwrap_or(0))),
            ("rocm", number) => Ok(Self::Rocm(number.unwrap_or(0))),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Vulkan(None) => f.write_str("vulkan"),
            Self::Vulkan(Some(number)) => write!(f, "vulkan:{number}"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Rocm(number) => write!(f, "rocm:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn setting() -> impl Strategy<Value = DeviceSetting> {
        prop_oneof![
            Just(DeviceSetting::Cpu),
            proptest::option::of(0_usize..64).prop_map(DeviceSetting::Vulkan),
            (0_usize..64).prop_map(DeviceSetting::Cuda),
            (0_usize..64).prop_map(DeviceSetting::Rocm),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_back(setting in setting()) {
            prop_assert_eq!(setting.to_string().parse::<DeviceSetting>().unwrap(), setting);
        }
    }

    #[cfg(feature = "vulkan")]
    #[test]
    fn a_gpu_that_is_not_here_is_an_error() {
        assert!(matches!(
            DeviceSetting::Vulkan(Some(63)).open().unwrap_err(),
            ModelError::DeviceMissing { device, .. } if device == "vulkan:63"
        ));
    }

    #[test]
    fn names_are_parsed() {
        let parse = |s: &str| s.parse::<DeviceSetting>().unwrap();
        assert_eq!(parse("cpu"), DeviceSetting::Cpu);
        assert_eq!(parse("flex"), DeviceSetting::Cpu);
        assert_eq!(parse("vulkan"), DeviceSetting::Vulkan(None));
        assert_eq!(parse("cuda"), DeviceSetting::Cuda(0));
        assert_eq!(parse("rocm:3"), DeviceSetting::Rocm(3));
    }

    #[test]
    fn nonsense_is_refused_with_the_setting_named() {
        for setting in [
            "",
            "gpu",
            "CPU",
            "cpu:0",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "vulkan:1:2",
        ] {
            let error = setting.parse::<DeviceSetting>().unwrap_err();
            assert!(
                matches!(&error, ModelError::UnknownDevice { setting: named } if named == setting),
                "{setting}: {error}"
            );
        }
    }

    #[test]
    fn the_cpu_opens() {
        assert_eq!(open("cpu").unwrap(), Device::flex());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_built_is_refused_with_its_feature() {
        let error = open("cuda:1").unwrap_err();
        assert!(matches!(
            error,
            ModelError::DeviceNotBuilt { device, feature: "cuda" } if device == "cuda:1"
        ));
    }
}
