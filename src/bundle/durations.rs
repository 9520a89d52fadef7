//! How long something lasts, as people write it.

use jiff::SignedDuration;

/// What to write.
pub const HELP: &str =
    "write days, hours, minutes and seconds, such as `90s`, `2m`, `1h30m` or `7d`";

const DAY: i64 = 24 * 60 * 60;

/// `90s`, `2m5s`, `1h30m`, `7d`. A day is 24 hours.
pub fn parse(text: &str) -> Option<SignedDuration> {
    let Some((days, rest)) = text.split_once('d') else {
        return text.parse().ok();
    };
    let is_number = !days.is_empty() && days.bytes().all(|b| b.is_ascii_digit());
    if !is_number {
        return text.parse().ok();
    }
    let days = days.parse::<i64>().ok()?.checked_mul(DAY)?;
    let rest = match rest.trim() {
        "" => SignedDuration::ZERO,
        rest if rest.starts_with(|c: char| c.is_ascii_digit()) => rest.parse().ok()?,
        _ => return None,
    };
    let whole = SignedDuration::from_secs(days).checked_add(rest)?;
    (!rest.is_negative()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_24_hours() {
        for (text, hours) in [
            ("1d", 24),
            ("7d", 168),
            ("1d12h", 36),
            ("0d 1h", 1),
            ("2h", 2),
        ] {
            assert_eq!(
                parse(text),
                Some(SignedDuration::from_hours(hours)),
                "{text}"
            );
        }
        for text in [
            "d",
            "1d1",
            "1d -1h",
            "1d 1h ago",
            "-1d",
            "1.5d",
            "1dd",
            "99999999999999999d",
            "720",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
