//! A resource quantity of Kubernetes, such as `100m` or `64Mi`, kept as it was written and compared
//! by what it means (Kubernetes API, `resource.Quantity`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A quantity of CPU or memory; never negative.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    /// In thousandths of a thousand-millionth, `10^-12`; at most `10^27`.
    pico: i128,
}

impl Quantity {
    /// Returns the quantity as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

const WRONG: &str = "is not a quantity such as 100m, 0.5, 64Mi or 1Gi";

impl FromStr for Quantity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let digits = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at_checked(digits).ok_or(WRONG)?;
        let factor = factor(suffix).ok_or(WRONG)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let no_digits = whole.is_empty() && fraction.is_empty();
        if no_digits || fraction.contains('.') || whole.len() > 18 || fraction.len() > 9 {
            return Err(WRONG);
        }
        let parse = |digits: &str| digits.parse::<i128>().unwrap_or_default();
        let scale = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| WRONG)?);
        let mantissa = parse(whole) * scale + parse(fraction);
        let pico = mantissa
            .checked_mul(factor)
            .ok_or("is too large a quantity")?
            / scale;
        Ok(Self {
            text: text.to_owned(),
            pico,
        })
    }
}

/// What a suffix multiplies with, in `10^-12`.
fn factor(suffix: &str) -> Option<i128> {
    const ONE: i128 = 1_000_000_000_000;
    let exponent = |text: &str| {
        let exponent: u32 = text.strip_prefix('+').unwrap_or(text).parse().ok()?;
        (exponent <= 18).then(|| ONE * 10_i128.pow(exponent))
    };
    Some(match suffix {
        "n" => ONE / 1_000_000_000,
        "u" => ONE / 1_000_000,
        "m" => ONE / 1000,
        "" => ONE,
        "k" => ONE * 1000,
        "M" => ONE * 1000_i128.pow(2),
        "G" => ONE * 1000_i128.pow(3),
        "T" => ONE * 1000_i128.pow(4),
        "P" => ONE * 1000_i128.pow(5),
        "E" => ONE * 1000_i128.pow(6),
        "Ki" => ONE << 10,
        "Mi" => ONE << 20,
        "Gi" => ONE << 30,
        "Ti" => ONE << 40,
        "Pi" => ONE << 50,
        "Ei" => ONE << 60,
        other => return exponent(other.strip_prefix(['e', 'E'])?),
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.pico == other.pico
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pico.cmp(&other.pico)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().expect(text)
    }

    #[test]
    fn compares_by_meaning() {
        assert_eq!(quantity("1"), quantity("1000m"));
        assert_eq!(quantity("0.5"), quantity("500m"));
        assert_eq!(quantity("1e3"), quantity("1k"));
        assert!(quantity("64Mi") > quantity("64M"));
        assert!(quantity("128Mi") < quantity("1Gi"));
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in [
            "", "Mi", ".", "1.2.3", "-1", "1 Gi", "1gi", "1e", "ten", "1e99", "é",
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(WRONG), "{text:?}");
        }
        assert_eq!(
            "999999999999999999Ei".parse::<Quantity>(),
            Err("is too large a quantity")
        );
    }
}
