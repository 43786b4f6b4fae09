//! Images of distorted letters.
//!
//! Drawn here, encoded by the `png` crate. The captcha crates that exist draw randomness by
//! themselves, bring an image library each, or give SVG, whose paths tell a program the letters
//! without looking. What a reader of clean text relies on is taken away: lines of the same weight
//! and darkness cross the letters, letters touch, lean and wave, strokes are uneven. That stops
//! only the laziest machines: a network trained on a few thousand of these images reads them, and
//! so do people who are paid by the hundred.

use super::glyphs::GLYPHS;
use crate::random::Random;

/// Letters in an image: one guess in 24 million is right.
const LETTERS: u8 = 6;

const WIDTH: u16 = 260;
const HEIGHT: u16 = 80;

/// Pieces that a stroke's segment is drawn in, so that it can wave.
const PIECES: u8 = 6;

/// A PNG and what stands in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub png: Vec<u8>,
    /// What it shows.
    pub letters: String,
}

/// Draws six random letters.
pub fn draw(random: &Random) -> Image {
    let mut dice = Dice::new(random);
    let mut page = Page::new(dice.between(225.0, 250.0));
    let wave = Wave::new(&mut dice);
    let mut letters = String::new();
    let advance = f32::from(WIDTH - 30) / f32::from(LETTERS);
    for place in 0..LETTERS {
        let (letter, strokes) = GLYPHS[dice.below(GLYPHS.len())];
        letters.push(letter);
        let left = 15.0 + f32::from(place) * advance + dice.between(-3.0, 3.0);
        let top = dice.between(15.0, 25.0);
        let (wide, high) = (dice.between(2.9, 3.5), dice.between(3.0, 3.7));
        let (lean, turn) = (dice.between(-0.2, 0.2), dice.between(-0.25, 0.25_f32));
        let weight = dice.between(1.5, 2.3);
        let (sine, cosine) = turn.sin_cos();
        for stroke in strokes {
            let ink = dice.between(20.0, 80.0);
            let points: Vec<Point> = stroke
                .iter()
                .map(|&(x, y)| {
                    let x = (f32::from(x) - 5.0 + dice.between(-0.5, 0.5)) * wide;
                    let y = (f32::from(y) - 7.0 + dice.between(-0.5, 0.5)) * high;
                    let x = x - lean * y;
                    Point {
                        x: left + 17.0 + x * cosine - y * sine,
                        y: top + 20.0 + x * sine + y * cosine,
                    }
                })
                .collect();
            page.stroke(&points, &wave, weight, ink);
        }
    }
    for _ in 0..3 {
        let ink = dice.between(30.0, 90.0);
        let weight = dice.between(0.9, 1.5);
        let points: Vec<Point> = (0_u8..=3)
            .map(|step| Point {
                x: f32::from(step) * f32::from(WIDTH) / 3.0,
                y: dice.between(15.0, f32::from(HEIGHT) - 15.0),
            })
            .collect();
        page.stroke(&points, &wave, weight, ink);
    }
    for _ in 0..60 {
        let at = Point {
            x: dice.between(0.0, f32::from(WIDTH)),
            y: dice.between(0.0, f32::from(HEIGHT)),
        };
        let radius = dice.between(0.3, 1.4);
        let ink = dice.between(40.0, 170.0);
        page.line(at, at, radius, ink);
    }
    Image {
        png: page.encode(),
        letters,
    }
}

#[derive(Clone, Copy)]
struct Point {
    x: f32,
    y: f32,
}

/// Bends the page: each point moves by two sine waves.
struct Wave {
    across: (f32, f32, f32),
    down: (f32, f32, f32),
}

impl Wave {
    fn new(dice: &mut Dice<'_>) -> Self {
        let mut one = || {
            (
                dice.between(2.0, 4.5),
                dice.between(0.04, 0.1),
                dice.between(0.0, 6.3),
            )
        };
        Self {
            across: one(),
            down: one(),
        }
    }

    fn bend(&self, at: Point) -> Point {
        let moved = |(height, pace, phase): (f32, f32, f32), along: f32| {
            height * (along * pace + phase).sin()
        };
        Point {
            x: at.x + moved(self.across, at.y),
            y: at.y + moved(self.down, at.x),
        }
    }
}

/// Grey values, row by row.
struct Page(Vec<u8>);

impl Page {
    fn new(paper: f32) -> Self {
        Self(vec![grey(paper); usize::from(WIDTH) * usize::from(HEIGHT)])
    }

    fn stroke(&mut self, points: &[Point], wave: &Wave, weight: f32, ink: f32) {
        for pair in points.windows(2) {
            let mut before = wave.bend(pair[0]);
            for piece in 1..=PIECES {
                let part = f32::from(piece) / f32::from(PIECES);
                let next = wave.bend(Point {
                    x: pair[0].x + (pair[1].x - pair[0].x) * part,
                    y: pair[0].y + (pair[1].y - pair[0].y) * part,
                });
                self.line(before, next, weight, ink);
                before = next;
            }
        }
    }

    /// A line with round ends: every pixel within `radius` of it, those at the edge in part.
    fn line(&mut self, from: Point, to: Point, radius: f32, ink: f32) {
        let (dx, dy) = (to.x - from.x, to.y - from.y);
        let length = dx * dx + dy * dy;
        let reach = radius + 1.0;
        let columns = span(from.x.min(to.x) - reach, from.x.max(to.x) + reach, WIDTH);
        for row in span(from.y.min(to.y) - reach, from.y.max(to.y) + reach, HEIGHT) {
            for column in columns.clone() {
                let (x, y) = (f32::from(column) - from.x, f32::from(row) - from.y);
                let along = if length > 0.0 {
                    ((x * dx + y * dy) / length).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let (x, y) = (x - along * dx, y - along * dy);
                let square = x * x + y * y;
                if square >= reach * reach {
                    continue;
                }
                let cover = (radius + 0.5 - square.sqrt()).clamp(0.0, 1.0);
                let at = usize::from(row) * usize::from(WIDTH) + usize::from(column);
                let paper = f32::from(self.0[at]);
                self.0[at] = grey(paper.min(paper + (ink - paper) * cover));
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, u32::from(WIDTH), u32::from(HEIGHT));
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        // Writing to memory, with as many bytes as were announced, cannot fail.
        if let Ok(mut writer) = encoder.write_header() {
            let _ = writer.write_image_data(&self.0);
            let _ = writer.finish();
        }
        bytes
    }
}

/// The whole numbers from `low` to `high` that are below `end`.
fn span(low: f32, high: f32, end: u16) -> std::ops::Range<u16> {
    let whole = |number: f32| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to what fits"
        )]
        let whole = number.clamp(0.0, f32::from(end)) as u16;
        whole
    };
    whole(low.floor())..whole(high.ceil() + 1.0)
}

fn grey(value: f32) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    let grey = value.clamp(0.0, 255.0) as u8;
    grey
}

/// Random numbers in small coin, drawn in large.
struct Dice<'a> {
    random: &'a Random,
    bytes: [u8; 256],
    at: usize,
}

impl<'a> Dice<'a> {
    fn new(random: &'a Random) -> Self {
        Self {
            random,
            bytes: random.bytes(),
            at: 0,
        }
    }

    fn draw(&mut self) -> u16 {
        if self.at + 2 > self.bytes.len() {
            self.random.fill(&mut self.bytes);
            self.at = 0;
        }
        let drawn = u16::from_be_bytes([self.bytes[self.at], self.bytes[self.at + 1]]);
        self.at += 2;
        drawn
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * f32::from(self.draw()) / 65_536.0
    }

    /// Each number below `end` equally likely.
    fn below(&mut self, end: usize) -> usize {
        let limit = 65_536 - 65_536 % end;
        loop {
            let drawn = usize::from(self.draw());
            if drawn < limit {
                return drawn % end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(png: &[u8]) -> Vec<u8> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(
            (info.width, info.height),
            (u32::from(WIDTH), u32::from(HEIGHT))
        );
        pixels
    }

    #[test]
    fn images_are_readable_files_with_ink_and_paper_and_no_two_are_alike() {
        let random = Random::seeded(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let image = draw(&random);
            assert_eq!(image.letters.len(), usize::from(LETTERS));
            assert!(image.png.len() < 16_384, "{}", image.png.len());
            let pixels = pixels(&image.png);
            let dark = pixels.iter().filter(|&&pixel| pixel < 150).count();
            let share = dark * 100 / pixels.len();
            assert!((8..60).contains(&share), "{share} %");
            assert!(seen.insert(pixels));
        }
    }

    #[test]
    fn every_letter_occurs_and_none_that_looks_like_another() {
        let random = Random::seeded(4);
        let mut counts = std::collections::BTreeMap::new();
        let mut dice = Dice::new(&random);
        for _ in 0..17_000 {
            *counts
                .entry(GLYPHS[dice.below(GLYPHS.len())].0)
                .or_insert(0) += 1;
        }
        assert_eq!(counts.len(), GLYPHS.len());
        // 1,000 expected each; seven standard deviations either way.
        assert!(
            counts.values().all(|count| (785..1_215).contains(count)),
            "{counts:?}"
        );
        for twins in ["0ODQ", "1IJLil", "2Z", "5S", "6GC", "8B", "UV", "EF"] {
            let both = twins.chars().filter(|c| counts.contains_key(c)).count();
            assert!(both <= 1, "{twins}");
        }
        for letter in counts.keys() {
            assert_eq!(
                super::super::answer::normal(&letter.to_string()),
                letter.to_string()
            );
        }
    }
}
