//! The site's colour, mended where it could not be read: text on it and text in it have a contrast of
//! at least 4.5 : 1, the button against the paper at least 3 : 1, on light paper and on dark.

use serde::Serialize;

/// The colour of a site that names none.
pub(super) const DEFAULT: &str = "#0b5d5a";
/// The contrast of text (WCAG 2.2, 1.4.3).
const TEXT_MIN: f64 = 4.5;
/// The contrast of what is no text (1.4.11).
const MARK_MIN: f64 = 3.0;
/// How far one step goes towards black or white, of 1.
const STEP: f64 = 0.02;
/// Steps until nothing of the colour is left.
const STEPS_MAX: usize = 50;

const WHITE: Rgb = Rgb([255, 255, 255]);
const INK: Rgb = Rgb([11, 20, 22]);
/// The papers of the panel, which stand in `widget/src/panel/panel.css` too.
const PAPER_LIGHT: Rgb = Rgb([251, 252, 253]);
/// See [`PAPER_LIGHT`].
const PAPER_DARK: Rgb = Rgb([20, 25, 30]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rgb([u8; 3]);

/// A colour as it is used on one paper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shades {
    /// What the button is filled with.
    fill: String,
    /// What is written on it.
    on: String,
    /// The colour of links and marks on the paper.
    text: String,
}

/// A site's colour on both papers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Accent {
    light: Shades,
    dark: Shades,
}

impl Accent {
    /// Reads `#rrggbb`. The error is one sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no colour; write it as #0b5d5a");
        let digits = text
            .strip_prefix('#')
            .filter(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(wrong)?;
        let [_, red, green, blue] = number.to_be_bytes();
        let colour = Rgb([red, green, blue]);
        Ok(Self { light: colour.on(PAPER_LIGHT, INK), dark: colour.on(PAPER_DARK, WHITE) })
    }
}

impl Rgb {
    /// The colour on a paper, moved towards the paper's ink as far as it must be.
    fn on(self, paper: Self, ink: Self) -> Shades {
        let readable = |fill: Self| fill.contrast(WHITE).max(fill.contrast(INK)) >= TEXT_MIN;
        let fill = self.towards(ink, |fill| fill.contrast(paper) >= MARK_MIN && readable(fill));
        let on = if fill.contrast(WHITE) >= TEXT_MIN { WHITE } else { INK };
        let text = self.towards(ink, |text| text.contrast(paper) >= TEXT_MIN);
        Shades { fill: fill.hex(), on: on.hex(), text: text.hex() }
    }

    /// The first colour on the way to another that will do.
    fn towards(self, other: Self, will_do: impl Fn(Self) -> bool) -> Self {
        let mut share = 0.0;
        for _ in 0..STEPS_MAX {
            let mixed = self.mixed(other, share);
            if will_do(mixed) {
                return mixed;
            }
            share += STEP;
        }
        other
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a mean of two bytes is from 0 to 255"
    )]
    fn mixed(self, other: Self, share: f64) -> Self {
        let mut mixed = self;
        for (part, towards) in mixed.0.iter_mut().zip(other.0) {
            *part = f64::from(*part).mul_add(1.0 - share, f64::from(towards) * share).round() as u8;
        }
        mixed
    }

    /// Contrast as WCAG counts it, from 1 to 21.
    fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    fn luminance(self) -> f64 {
        let linear = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        let [red, green, blue] = linear;
        0.0722_f64.mul_add(blue, 0.2126_f64.mul_add(red, 0.7152 * green))
    }

    fn hex(self) -> String {
        let [red, green, blue] = self.0;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Rgb {
        let number = u32::from_str_radix(&text[1..], 16).unwrap();
        let [_, red, green, blue] = number.to_be_bytes();
        Rgb([red, green, blue])
    }

    #[test]
    fn whatever_the_colour_all_of_it_can_be_read() {
        let parts = [0_u8, 51, 102, 128, 153, 204, 255];
        for red in parts {
            for green in parts {
                for blue in parts {
                    let text = Rgb([red, green, blue]).hex();
                    let Accent { light, dark } = Accent::parse(&text).unwrap();
                    for (shades, paper) in [(light, PAPER_LIGHT), (dark, PAPER_DARK)] {
                        let fill = read(&shades.fill);
                        assert!(fill.contrast(paper) >= MARK_MIN, "{text}: {shades:?}");
                        assert!(fill.contrast(read(&shades.on)) >= TEXT_MIN, "{text}: {shades:?}");
                        assert!(read(&shades.text).contrast(paper) >= TEXT_MIN, "{text}: {shades:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_colour_that_will_do_stays_as_it_is() {
        let accent = Accent::parse(DEFAULT).unwrap();
        assert_eq!(accent.light, Shades { fill: DEFAULT.into(), on: "#ffffff".into(), text: DEFAULT.into() });
        assert!((Rgb([0, 0, 0]).contrast(WHITE) - 21.0).abs() < 0.001);
    }

    #[test]
    fn what_is_no_colour_is_refused() {
        for text in ["", "red", "#fff", "0b5d5a0", "#0b5d5", "#0b5d5a0", "#ggggGg", "#é1234", "#+12345"] {
            let refused = Accent::parse(text).is_err();
            assert!(refused, "{text}");
        }
    }
}
