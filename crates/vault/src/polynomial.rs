//! The chunker polynomial in `config`: irreducible over GF(2), of degree 53.
//!
//! Lifeboat cuts by other means, but restic refuses a repository without a valid one, and the
//! number seeds our gear table, so that vaults which share it share their cuts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

const DEGREE: u32 = 53;

/// An irreducible polynomial of degree 53; bit n is the coefficient of x^n.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Polynomial(u64);

impl Polynomial {
    /// A random one. About one odd candidate in 27 is irreducible.
    pub fn generate() -> Result<Self> {
        for _ in 0..100_000 {
            let random = getrandom::u64()?;
            let candidate = (random & ((1 << DEGREE) - 1)) | (1 << DEGREE) | 1;
            if is_irreducible(candidate) {
                return Ok(Polynomial(candidate));
            }
        }
        Err(Error::Invalid("found no irreducible polynomial".into()))
    }

    /// From its coefficients; refused unless irreducible and of degree 53.
    pub fn from_bits(bits: u64) -> Option<Self> {
        (degree(bits) == DEGREE && is_irreducible(bits)).then_some(Polynomial(bits))
    }

    /// Its coefficients.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

fn degree(bits: u64) -> u32 {
    63 - (bits | 1).leading_zeros()
}

/// Remainder of a division by a polynomial of degree 1 or more.
fn remainder(mut value: u64, modulus: u64) -> u64 {
    let top = degree(modulus);
    while degree(value) >= top {
        value ^= modulus << (degree(value) - top);
    }
    value
}

/// Product modulo a polynomial of degree below 63.
fn multiply(mut a: u64, mut b: u64, modulus: u64) -> u64 {
    let top = 1 << degree(modulus);
    let mut product = 0;
    a = remainder(a, modulus);
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a <<= 1;
        if a & top != 0 {
            a ^= modulus;
        }
    }
    product
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 1 {
        (a, b) = (b, remainder(a, b));
    }
    // A constant other than zero divides everything.
    if b == 1 { 1 } else { a }
}

/// Ben-Or's test: no factor divides x^(2^i) - x for any i up to half the degree.
fn is_irreducible(bits: u64) -> bool {
    if degree(bits) < 1 {
        return false;
    }
    let mut power = 2;
    for _ in 0..degree(bits) / 2 {
        power = multiply(power, power, bits);
        if gcd(bits, power ^ 2) != 1 {
            return false;
        }
    }
    true
}

impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Polynomial {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16)
            .ok()
            .and_then(Polynomial::from_bits)
            .ok_or("not an irreducible polynomial of degree 53")
    }
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_polynomials_by_trial_division() {
        for candidate in 2u64..2048 {
            let divisors = 2u64..(1 << (degree(candidate) / 2 + 1));
            let prime = !divisors
                .filter(|d| degree(*d) < degree(candidate) && degree(*d) > 0)
                .any(|d| remainder(candidate, d) == 0);
            if degree(candidate) > 1 {
                assert_eq!(is_irreducible(candidate), prime, "{candidate:b}");
            }
        }
    }

    #[test]
    fn the_polynomials_of_the_specification_and_ours() {
        assert!("3DA3358B4DC173".parse::<Polynomial>().is_ok());
        for _ in 0..20 {
            let new = Polynomial::generate().unwrap();
            assert_eq!(new.to_string().parse::<Polynomial>().unwrap(), new);
        }
        for bad in ["", "0", "1", "25b468838dcb74", "zz", "ffffffffffffffff", "3"] {
            assert!(bad.parse::<Polynomial>().is_err(), "{bad}");
        }
    }
}
