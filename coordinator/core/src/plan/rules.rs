//! A parameter's value against its model's rule: read, or refused with the nearest one that goes.

use crate::{
    model_card::{ParamKind, ParamValue},
    spec::report::quoted,
};

/// What is wrong with a value and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// The value that `text` stands for.
pub(crate) fn read(kind: &ParamKind, text: &str) -> Result<ParamValue, Refused> {
    match *kind {
        ParamKind::Number { min, max } => number(text, min, max),
        ParamKind::Whole { min, max, multiple, remainder } => {
            whole(text, min, max, multiple.max(1), remainder)
        }
        ParamKind::Size { multiple, min, max } => size(text, multiple.max(1), min, max),
        ParamKind::Flag => match text {
            "true" => Ok(ParamValue::Flag(true)),
            "false" => Ok(ParamValue::Flag(false)),
            _ => Err(refused(text, "is neither true nor false", "write one of them")),
        },
        ParamKind::Text { bytes_max } => {
            if text.len() > bytes_max {
                let message = format!("has {} bytes, more than {bytes_max}", text.len());
                return Err(refused(text, &message, "shorten it"));
            }
            Ok(ParamValue::Text(text.to_owned()))
        }
    }
}

fn refused(text: &str, message: &str, remedy: &str) -> Refused {
    Refused { message: format!("{} {message}", quoted(text)), remedy: remedy.to_owned() }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn number(text: &str, min: f64, max: f64) -> Result<ParamValue, Refused> {
    let Some(value) = finite(text) else {
        return Err(refused(text, "is no finite number", &format!("give one from {min} to {max}")));
    };
    if !(min..=max).contains(&value) {
        let remedy = format!("the nearest is {}", value.clamp(min, max));
        return Err(refused(text, &format!("is not from {min} to {max}"), &remedy));
    }
    Ok(ParamValue::Number(value))
}

fn whole(text: &str, min: u64, max: u64, multiple: u64, remainder: u64) -> Result<ParamValue, Refused> {
    let rule = match (multiple, remainder) {
        (1, _) => format!("from {min} to {max}"),
        (m, 0) => format!("a multiple of {m} from {min} to {max}"),
        (m, r) => format!("{m}k + {r} from {min} to {max}"),
    };
    let Some(value) = finite(text).filter(|value| value.fract() == 0.0) else {
        return Err(refused(text, "is no whole number", &format!("give one that is {rule}")));
    };
    let lowest = min + (remainder + multiple - min % multiple) % multiple;
    let highest = max.checked_sub((max % multiple + multiple - remainder % multiple) % multiple);
    let Some(highest) = highest.filter(|highest| *highest >= lowest) else {
        return Err(refused(text, &format!("must be {rule}"), "no number is: this model's rule is wrong"));
    };
    // A cast that does not fit ends at the first or last number there is, and so does the nearest.
    let asked = (value as u64).clamp(lowest, highest);
    let near = lowest + ((asked - lowest).saturating_add(multiple / 2)) / multiple * multiple;
    let near = near.min(highest);
    if near as f64 != value {
        return Err(refused(text, &format!("must be {rule}"), &format!("the nearest is {near}")));
    }
    Ok(ParamValue::Number(value))
}

fn size(text: &str, multiple: u32, min: u32, max: u32) -> Result<ParamValue, Refused> {
    let rule = format!("multiples of {multiple} from {min} to {max}");
    let parsed = text.split_once('x').and_then(|(width, height)| {
        let side =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        Some((side(width)?, side(height)?))
    });
    let Some((width, height)) = parsed else {
        return Err(refused(text, "is no size", &format!("write WIDTHxHEIGHT, {rule}")));
    };
    let near = |side: u32| {
        let low = min.div_ceil(multiple) * multiple;
        let high = (max / multiple * multiple).max(low);
        let rounded = (u64::from(side) + u64::from(multiple / 2)) / u64::from(multiple) * u64::from(multiple);
        u32::try_from(rounded).unwrap_or(u32::MAX).clamp(low, high)
    };
    let (near_width, near_height) = (near(width), near(height));
    if (near_width, near_height) != (width, height) {
        let remedy = format!("the nearest is {near_width}x{near_height}");
        return Err(refused(text, &format!("must be {rule}"), &remedy));
    }
    Ok(ParamValue::Text(format!("{width}x{height}")))
}
