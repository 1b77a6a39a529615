//! Money as integers.

use std::{fmt, iter::Sum, ops::Add};

use serde::{Deserialize, Serialize};

/// An amount of money in millionths of a US dollar. Sums saturate: a budget can be refused by an
/// absurd amount but never passed by an overflow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(u64::MAX);

    /// The amount in dollars, for display only.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// What is left after `other`, not below zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self × count`, saturating.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// The price of `tokens` at `self` per million tokens, rounded up to a whole micro-dollar.
    #[must_use]
    pub fn per_million(self, tokens: u64) -> Self {
        let exact = u128::from(self.0) * u128::from(tokens);
        Self(u64::try_from(exact.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

impl Add for MicroUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_prices_round_up_and_saturate() {
        assert_eq!(MicroUsd(150_000).per_million(1), MicroUsd(1));
        assert_eq!(MicroUsd(2_500_000).per_million(1_000), MicroUsd(2_500));
        assert_eq!(MicroUsd::MAX.per_million(u64::MAX), MicroUsd::MAX);
        assert_eq!(MicroUsd(1_234_567).to_string(), "$1.234567");
    }
}
