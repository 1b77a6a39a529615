//! Conversions between the types of `maestro-core` and the messages of `maestro.v1`.
//!
//! The registry stores and the RPC layer sends the same messages, so the conversions stand below
//! both. Going out is total ([`ToProto`]); coming in is checked ([`FromProto`]) and names the
//! field that is wrong.

mod episode;
mod event;
mod expert;
mod failure;
mod journal;
mod policy;
mod registry;
mod skill;
mod task;
mod time;

pub use event::{EpisodeEvent, event_to_proto};
pub use policy::{policy_from_proto, policy_to_proto};
pub use task::{UncheckedImage, UncheckedTask, unchecked_task};

use maestro_core::CoreError;

/// A core type that can be sent.
pub trait ToProto {
    /// The message.
    type Proto;
    /// The message that says the same.
    fn to_proto(&self) -> Self::Proto;
}

/// A core type that can be received.
pub trait FromProto: Sized {
    /// The message.
    type Proto;
    /// Reads the message.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] naming the field.
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError>;
}

/// Messages of a repeated field.
fn list<'a, T: ToProto + 'a>(items: impl IntoIterator<Item = &'a T>) -> Vec<T::Proto> {
    items.into_iter().map(ToProto::to_proto).collect()
}

/// Reads a repeated field; errors name `field[index]`.
fn read_list<T: FromProto>(field: &str, items: Vec<T::Proto>) -> Result<Vec<T>, CoreError> {
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| {
            T::from_proto(item).map_err(|error| error.under(&format!("{field}[{index}]")))
        })
        .collect()
}

/// Reads a message field that must be there.
fn required<T: FromProto>(field: &str, value: Option<T::Proto>) -> Result<T, CoreError> {
    let value = value.ok_or_else(|| CoreError::invalid(field, "must be set"))?;
    T::from_proto(value).map_err(|error| error.under(field))
}

/// Reads a message field that may be absent.
fn optional<T: FromProto>(field: &str, value: Option<T::Proto>) -> Result<Option<T>, CoreError> {
    value
        .map(|value| T::from_proto(value).map_err(|error| error.under(field)))
        .transpose()
}

/// An empty string where `value` is absent.
fn text<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// Parses a text field; the empty text is absent.
fn parse_optional<T>(field: &str, value: &str) -> Result<Option<T>, CoreError>
where
    T: std::str::FromStr<Err = CoreError>,
{
    if value.is_empty() {
        Ok(None)
    } else {
        parse(field, value).map(Some)
    }
}

/// Parses a text field; errors name `field` rather than the type's own word for it.
fn parse<T>(field: &str, value: &str) -> Result<T, CoreError>
where
    T: std::str::FromStr<Err = CoreError>,
{
    value.parse().map_err(|error| match error {
        CoreError::Invalid(violation) => CoreError::invalid(field, violation.description),
        other => other,
    })
}

#[cfg(test)]
mod tests;
