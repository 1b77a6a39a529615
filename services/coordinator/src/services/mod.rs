//! The gRPC services of the coordinator: parse, ask, answer. No decision is taken here.

mod episodes;
mod policies;
mod registry;

pub(crate) use episodes::EpisodeApi;
pub(crate) use policies::PolicyAdminApi;
pub(crate) use registry::RegistryApi;

use maestro_core::CoreError;
use maestro_rpc::to_status;
use tonic::Status;

/// Core errors as a status, for `map_err`.
fn status(error: CoreError) -> Status {
    to_status(&error)
}

/// Parses a name in a request field.
fn name<T: std::str::FromStr<Err = CoreError>>(field: &str, value: &str) -> Result<T, Status> {
    value.parse().map_err(|error| match error {
        CoreError::Invalid(violation) => status(CoreError::invalid(field, violation.description)),
        other => status(other),
    })
}
