//! Columns that line up.

use super::text::{cut, cut_middle};

/// The colour of a cell, where colour is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
}

impl Tone {
    /// `text` with the escape sequences for it (ECMA-48), if `colour`.
    pub(in crate::cli) fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Doubtful => "33",
            Self::Bad => "1;31",
            Self::Plain => return text.to_owned(),
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// One cell: ASCII without control characters.
pub(in crate::cli) struct Cell(pub(in crate::cli) String, pub(in crate::cli) Tone);

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self(text, Tone::Plain)
    }
}

/// A heading per column with its greatest width; what is longer is cut, names in the first column in their middle. The last column takes
/// what remains of the line.
pub(in crate::cli) struct Table<const N: usize> {
    pub(in crate::cli) headings: [(&'static str, usize); N],
    pub(in crate::cli) rows: Vec<[Cell; N]>,
}

/// Between two columns.
const GAP: usize = 2;

impl<const N: usize> Table<N> {
    /// Lines of at most `width` columns, if given, without trailing spaces.
    pub(in crate::cli) fn render(&self, width: Option<usize>, colour: bool) -> String {
        let mut widths = self.headings.map(|(heading, _)| heading.len());
        for row in &self.rows {
            for (i, cell) in row.iter().enumerate() {
                let greatest = if width.is_some() { self.headings[i].1 } else { usize::MAX };
                widths[i] = widths[i].max(cell.0.len().min(greatest));
            }
        }
        if let Some(width) = width {
            let before: usize = widths[..N - 1].iter().map(|column| column + GAP).sum();
            widths[N - 1] = width.saturating_sub(before);
        }
        let headings = self.headings.map(|(heading, _)| Cell::from(heading.to_owned()));
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut spaces = 0;
            for (i, (Cell(cell, tone), column)) in row.iter().zip(widths).enumerate() {
                let cell = if i == 0 { cut_middle(cell, column) } else { cut(cell, column) };
                if !cell.is_empty() {
                    text.extend(std::iter::repeat_n(' ', spaces));
                    spaces = 0;
                    text.push_str(&tone.paint(&cell, colour));
                }
                spaces += column - cell.len() + GAP;
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_takes_the_rest() {
        let row = |a: &str, b: &str| [Cell::from(a.to_owned()), Cell("UP".to_owned(), Tone::Good), Cell::from(b.to_owned())];
        let table = Table { headings: [("A", 4), ("HEALTH", 9), ("REST", 99)], rows: vec![row("abcdef", "0123456789"), row("b", "")] };
        assert_eq!(table.render(Some(20), false), "A     HEALTH  REST\na..f  UP      0123..\nb     UP\n");
        assert_eq!(table.render(None, false), "A       HEALTH  REST\nabcdef  UP      0123456789\nb       UP\n");
        assert!(table.render(None, true).contains("\x1b[32mUP\x1b[0m      0123456789"));
    }
}
