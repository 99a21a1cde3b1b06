//! What one parameter may be, and the nearest allowed value for one that may not.

use crate::error::Error;
use crate::request::bad;

/// The rule of a parameter. Bounds are included.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    Number {
        min: f64,
        max: f64,
        default: Option<f64>,
    },
    /// Whole numbers that leave `remainder` when divided by `multiple`.
    Whole {
        min: u64,
        max: u64,
        multiple: u64,
        remainder: u64,
        default: Option<u64>,
    },
    /// Width and height, each a multiple.
    Size {
        multiple: u32,
        min: u32,
        max: u32,
        default: Option<(u32, u32)>,
    },
    Flag {
        default: bool,
    },
    Text {
        bytes_max: usize,
        default: String,
    },
}

impl Rule {
    pub(crate) fn default_number(&self) -> Option<f64> {
        match self {
            Self::Number { default, .. } => *default,
            Self::Whole { default, .. } => default.map(|d| d as f64),
            Self::Size { .. } | Self::Flag { .. } | Self::Text { .. } => None,
        }
    }

    /// Replaces the default by a number or a size, whichever the rule takes.
    pub(super) fn set_default(
        &mut self,
        given: Option<f64>,
        pixels: Option<(u32, u32)>,
    ) -> Result<(), String> {
        let said = |error: Error| format!("{error}; {}", error.remedy());
        match (given, pixels) {
            (Some(number), _) => self.check_number("default", number).map_err(said)?,
            (_, Some((width, height))) => self.check_size("default", width, height).map_err(said)?,
            _ => {}
        }
        match (self, given, pixels) {
            (Self::Number { default, .. }, Some(number), _) => *default = Some(number),
            (Self::Whole { default, .. }, Some(number), _) => *default = Some(number as u64),
            (Self::Size { default, .. }, _, Some(size)) => *default = Some(size),
            _ => return Err("of another kind than the parameter".into()),
        }
        Ok(())
    }

    /// # Errors
    /// `BadRequest` with the nearest number that keeps the rule.
    pub(crate) fn check_number(&self, param: &str, number: f64) -> Result<(), Error> {
        match *self {
            Self::Number { min, max, .. } if !(min..=max).contains(&number) => {
                let remedy = if number.is_finite() {
                    format!("the nearest is {}", number.clamp(min, max))
                } else {
                    format!("give a number from {min} to {max}")
                };
                Err(bad(param, format!("{number} is not from {min} to {max}"), remedy))
            }
            Self::Whole { min, max, multiple, remainder, .. } => {
                let whole = number.max(0.0) as u64;
                let nearest = nearest(whole, min, max, multiple, remainder);
                if nearest as f64 == number {
                    return Ok(());
                }
                let kind = if multiple > 1 {
                    format!(" of the form {multiple} n + {remainder}")
                } else {
                    String::new()
                };
                let message = format!("{number} is not a whole number from {min} to {max}{kind}");
                Err(bad(param, message, format!("the nearest is {nearest}")))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// `BadRequest` with the nearest size that keeps the rule.
    pub(crate) fn check_size(&self, param: &str, width: u32, height: u32) -> Result<(), Error> {
        let Self::Size { multiple, min, max, .. } = *self else { return Ok(()) };
        let near = |side: u32| nearest(side.into(), min.into(), max.into(), multiple.into(), 0);
        if near(width) == u64::from(width) && near(height) == u64::from(height) {
            return Ok(());
        }
        let message = format!("{width}x{height}: sides are multiples of {multiple} from {min} to {max}");
        Err(bad(param, message, format!("the nearest is {}x{}", near(width), near(height))))
    }
}

/// The nearest of the numbers that keep the rule, the larger of two that are equally near.
fn nearest(number: u64, min: u64, max: u64, multiple: u64, remainder: u64) -> u64 {
    let up = |n: u64| n + (multiple + remainder - n % multiple) % multiple;
    let (lowest, highest) = (up(min), (up(max + 1)).saturating_sub(multiple));
    let above = up(number.clamp(lowest, highest));
    let below = above.saturating_sub(multiple).max(lowest);
    let (above, below) = (above.clamp(lowest, highest), below.min(highest));
    if above.abs_diff(number) <= number.abs_diff(below) { above } else { below }
}
