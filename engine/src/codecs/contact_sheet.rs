//! A job on one page: labelled thumbnails in a grid on neutral grey, each cell a picture or a strip of a clip.
//!
//! Cells are drawn as they come, so that only the page itself is held; a page is bounded in pixels, and a cell
//! that never got its pictures says so.

use super::lettering::{self, Style};
use super::{Error, Picture, resample};

/// Width that a page aims at, pixels: a wide screen shows it without scrolling.
const PAGE_WIDTH: usize = 1920;

/// Bounds of a thumbnail's width, pixels: smaller is not worth looking at, larger is not a thumbnail.
const THUMB_WIDTH: std::ops::RangeInclusive<usize> = 64..=288;

/// The largest page, pixels (96 MB as RGB).
const PAGE_PIXELS_MAX: usize = 32 << 20;

/// A page of one cell alone is still wide enough for its title.
const PAGE_WIDTH_MIN: usize = 640;

const MARGIN: usize = 36;
const CELL_GAP: usize = 22;
const STRIP_GAP: usize = 3;
/// Between a cell's pictures and its words.
const LEADING: usize = 6;

/// Neutral, so that it does not tint what is judged on it.
const PAGE: u8 = 27;
const PLACE: u8 = 40;

/// What a page holds.
#[derive(Clone, Debug)]
pub struct Layout<'a> {
    /// The line on top, such as the job's name.
    pub title: &'a str,
    /// The line below it: counts, model, time.
    pub note: &'a str,
    pub cells: usize,
    /// Cells side by side; rows follow.
    pub columns: usize,
    /// Pictures side by side in a cell: 1 for stills, 3 for a clip's first, middle and last.
    pub strip: usize,
    /// Width and height of most pictures, pixels: gives the thumbnails their shape. Others are fitted in.
    pub picture: (usize, usize),
}

/// A page being drawn.
#[derive(Debug)]
pub struct ContactSheet {
    page: Picture,
    columns: usize,
    cells: usize,
    strip: usize,
    thumb: (usize, usize),
    head: usize,
}

impl ContactSheet {
    /// An empty page, every cell saying that it has no picture yet.
    pub fn new(layout: &Layout<'_>) -> Result<Self, Error> {
        let (columns, strip) = (layout.columns.max(1), layout.strip.max(1));
        let cells = layout.cells.max(1);
        let rows = cells.div_ceil(columns);
        let head = MARGIN + Style::Title.height() + Style::Detail.height() + 2 * LEADING + CELL_GAP;
        let room = PAGE_WIDTH - 2 * MARGIN - CELL_GAP * (columns - 1).min(40);
        let widest = (room / columns).saturating_sub(STRIP_GAP * (strip - 1)) / strip;
        let mut sheet = Self {
            page: Picture { width: 0, height: 0, rgb: Vec::new() },
            columns,
            cells,
            strip,
            thumb: (0, 0),
            head,
        };
        let mut width = widest.clamp(*THUMB_WIDTH.start(), *THUMB_WIDTH.end());
        loop {
            let (across, down) = layout.picture;
            sheet.thumb = (width, (width * down.max(1) / across.max(1)).clamp(16, 4 * width));
            let page_width =
                (2 * MARGIN + columns * (sheet.cell().0 + CELL_GAP) - CELL_GAP).max(PAGE_WIDTH_MIN);
            let page_height = head + rows * (sheet.cell().1 + CELL_GAP) - CELL_GAP + MARGIN;
            let pixels = page_width * page_height;
            if pixels <= PAGE_PIXELS_MAX {
                sheet.page = Picture { width: page_width, height: page_height, rgb: vec![PAGE; pixels * 3] };
                break;
            }
            if width <= *THUMB_WIDTH.start() {
                return Err(Error::SheetSize { cells, cells_max: cells * PAGE_PIXELS_MAX / pixels });
            }
            width = (width * 7 / 8).max(*THUMB_WIDTH.start());
        }
        let line = sheet.page.width - 2 * MARGIN;
        lettering::write(&mut sheet.page, (MARGIN, MARGIN), line, Style::Title, layout.title);
        let below = MARGIN + Style::Title.height() + LEADING;
        lettering::write(&mut sheet.page, (MARGIN, below), line, Style::Detail, layout.note);
        (0..cells).for_each(|cell| sheet.empty(cell));
        Ok(sheet)
    }

    /// Draws a cell: as many pictures as the strip has places, `label` under them and `detail` under that.
    /// Without pictures the cell goes on saying so. A cell that the page does not have is not drawn.
    pub fn place(&mut self, cell: usize, label: &str, detail: &str, pictures: &[Picture]) {
        if cell >= self.cells {
            return;
        }
        let (x, y) = self.corner(cell);
        let (width, height) = self.thumb;
        if !pictures.is_empty() {
            self.fill((x, y), (self.cell().0, height), PAGE);
        }
        for (i, picture) in pictures.iter().take(self.strip).enumerate() {
            let scale = (width as f64 / picture.width as f64).min(height as f64 / picture.height as f64);
            let fit = |side: usize, room: usize| ((side as f64 * scale).round() as usize).clamp(1, room);
            let small = resample::resize(picture, fit(picture.width, width), fit(picture.height, height));
            let left = x + i * (width + STRIP_GAP) + (width - small.width) / 2;
            self.paste((left, y + (height - small.height) / 2), &small);
        }
        let words = y + height + LEADING;
        let room = self.cell().0;
        lettering::write(&mut self.page, (x, words), room, Style::Label, label);
        lettering::write(&mut self.page, (x, words + Style::Label.height()), room, Style::Detail, detail);
    }

    /// The page as it stands.
    pub fn into_picture(self) -> Picture {
        self.page
    }

    /// Width and height of a cell with its words.
    fn cell(&self) -> (usize, usize) {
        let (width, height) = self.thumb;
        let words = LEADING + Style::Label.height() + Style::Detail.height();
        (self.strip * (width + STRIP_GAP) - STRIP_GAP, height + words)
    }

    fn corner(&self, cell: usize) -> (usize, usize) {
        let (width, height) = self.cell();
        let (column, row) = (cell % self.columns, cell / self.columns);
        (MARGIN + column * (width + CELL_GAP), self.head + row * (height + CELL_GAP))
    }

    fn empty(&mut self, cell: usize) {
        const WORDS: &str = "no picture";
        let (x, y) = self.corner(cell);
        let size = (self.cell().0, self.thumb.1);
        self.fill((x, y), size, PLACE);
        let inset = size.0.saturating_sub(Style::Detail.width(WORDS)) / 2;
        let drop = size.1.saturating_sub(Style::Detail.height()) / 2;
        lettering::write(&mut self.page, (x + inset, y + drop), size.0 - inset, Style::Detail, WORDS);
    }

    fn fill(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), grey: u8) {
        for row in y..y + height {
            let at = (row * self.page.width + x) * 3;
            self.page.rgb[at..at + width * 3].fill(grey);
        }
    }

    fn paste(&mut self, (x, y): (usize, usize), picture: &Picture) {
        let stride = picture.width * 3;
        for (row, line) in picture.rgb.chunks_exact(stride).enumerate() {
            let at = ((y + row) * self.page.width + x) * 3;
            self.page.rgb[at..at + stride].copy_from_slice(line);
        }
    }
}

/// Which frames of a clip stand for it in a strip: evenly spaced, the first and the last among them.
pub fn strip_of(frames: usize, strip: usize) -> Vec<usize> {
    match (frames, strip) {
        (0, _) | (_, 0) => Vec::new(),
        (_, 1) => vec![frames / 2],
        _ => {
            let places = strip.min(frames);
            (0..places).map(|i| (i * (frames - 1)) / (places - 1).max(1)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(cells: usize) -> Layout<'static> {
        Layout { title: "spring", note: "2 clips", cells, columns: 2, strip: 3, picture: (96, 64) }
    }

    fn flat(width: usize, height: usize, rgb: [u8; 3]) -> Picture {
        Picture { width, height, rgb: rgb.repeat(width * height) }
    }

    #[test]
    fn a_cell_shows_its_pictures_and_the_next_one_says_that_it_has_none() {
        let mut sheet = ContactSheet::new(&layout(2)).unwrap();
        let empty = sheet.page.clone();
        sheet.place(0, "seed 7", "12 s", &[flat(96, 64, [250, 0, 0]), flat(64, 96, [0, 250, 0])]);
        sheet.place(9, "no such cell", "", &[flat(9, 9, [0, 0, 250])]);
        let page = sheet.into_picture();
        let count =
            |p: &Picture, rgb: [u8; 3]| p.rgb.as_chunks::<3>().0.iter().filter(|&&c| c == rgb).count();
        assert!(
            count(&page, [250, 0, 0]) > count(&page, [0, 250, 0]),
            "a tall one is fitted into the wide place"
        );
        assert!(count(&page, [0, 250, 0]) > 1000);
        assert_eq!(count(&page, [0, 0, 250]), 0);
        assert!(count(&page, [PLACE; 3]) * 2 <= count(&empty, [PLACE; 3]) + 200, "one place of two is left");
    }

    #[test]
    fn many_cells_get_smaller_thumbnails_and_far_too_many_are_refused() {
        let pixels = |cells| ContactSheet::new(&layout(cells)).map(|s| s.page.width * s.page.height);
        assert!(pixels(600).unwrap() <= PAGE_PIXELS_MAX);
        assert!(matches!(pixels(100_000), Err(Error::SheetSize { cells_max, .. }) if cells_max > 600));
    }

    #[test]
    fn a_strip_begins_with_the_first_and_ends_with_the_last_frame() {
        assert_eq!(strip_of(17, 3), [0, 8, 16]);
        assert_eq!(strip_of(2, 3), [0, 1]);
        assert_eq!(strip_of(1, 3), [0]);
        assert_eq!(strip_of(9, 1), [4]);
        assert!(strip_of(0, 3).is_empty());
    }
}
