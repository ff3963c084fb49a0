//! Ages as `kubectl` writes them: `12s`, `3m10s`, `5h`, `2d3h`, `400d`, `3y12d`.

use jiff::Timestamp;
use serde_json::Value;

/// The age of something that happened at an RFC 3339 time.
pub(crate) fn since(time: &Value, now: Timestamp) -> String {
    match time.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(then) => human(now.duration_since(then).as_secs()),
        None => "<unknown>".into(),
    }
}

/// A duration in seconds, in at most two units.
pub(crate) fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: char, small: i64, small_unit: char| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(190, "3m10s")]
    #[case(660, "11m")]
    #[case(3 * 3600 + 60, "3h1m")]
    #[case(9 * 3600, "9h")]
    #[case(2 * 86_400 + 3600, "2d1h")]
    #[case(30 * 86_400, "30d")]
    #[case(-5, "<invalid>")]
    fn ages_have_at_most_two_units(#[case] seconds: i64, #[case] text: &str) {
        assert_eq!(human(seconds), text);
    }
}
