use std::time::Duration;

use maestro_core::{CoreError, Timestamp};

use crate::{FromProto, ToProto};

impl ToProto for Timestamp {
    type Proto = prost_types::Timestamp;
    fn to_proto(&self) -> Self::Proto {
        // Before 1970 jiff counts nanoseconds backwards from the second, the protocol forwards.
        let (seconds, nanos) = (self.as_second(), self.subsec_nanosecond());
        if nanos < 0 {
            prost_types::Timestamp {
                seconds: seconds - 1,
                nanos: nanos + 1_000_000_000,
            }
        } else {
            prost_types::Timestamp { seconds, nanos }
        }
    }
}

impl FromProto for Timestamp {
    type Proto = prost_types::Timestamp;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Self::new(proto.seconds, proto.nanos)
            .map_err(|_| CoreError::invalid("seconds", "is not a time in the years -9999 to 9999"))
    }
}

impl ToProto for Duration {
    type Proto = prost_types::Duration;
    fn to_proto(&self) -> Self::Proto {
        prost_types::Duration {
            seconds: i64::try_from(self.as_secs()).unwrap_or(i64::MAX),
            // Below 10^9, so that it fits.
            nanos: i32::try_from(self.subsec_nanos()).unwrap_or_default(),
        }
    }
}

impl FromProto for Duration {
    type Proto = prost_types::Duration;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Self::try_from(proto).map_err(|_| CoreError::invalid("seconds", "must not be negative"))
    }
}
