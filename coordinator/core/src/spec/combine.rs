//! How axes combine: `a * b` is every pair, `(a, b)` goes through both side by side; both nest.

use super::report::{did_you_mean, quoted};

/// Brackets within brackets.
const DEPTH_MAX: usize = 16;

/// Names are numbers of axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Axis(usize),
    /// The last varies fastest.
    Product(Vec<Expr>),
    Zip(Vec<Expr>),
}

/// Something wrong at a byte of the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) offset: usize,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

const GRAMMAR: &str = "write 'a * b' for every pair and '(a, b)' for side by side";

/// Reads an expression over the axes of these names.
pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Expr, Wrong> {
    let mut parser = Parser { text, at: 0, names, used: vec![false; names.len()] };
    let expr = parser.product(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(c) => Err(parser.wrong(format!("unexpected '{c}'"), GRAMMAR)),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: &'a [&'a str],
    used: Vec<bool>,
}

impl Parser<'_> {
    fn wrong(&self, message: impl Into<String>, remedy: impl Into<String>) -> Wrong {
        Wrong { offset: self.at, message: message.into(), remedy: remedy.into() }
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.at += wanted.len_utf8();
        }
        is_next
    }

    fn product(&mut self, depth: usize) -> Result<Expr, Wrong> {
        let mut factors = vec![self.term(depth)?];
        while self.eat('*') {
            factors.push(self.term(depth)?);
        }
        Ok(one_or(factors, Expr::Product))
    }

    fn term(&mut self, depth: usize) -> Result<Expr, Wrong> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(format!("nested deeper than {DEPTH_MAX}"), GRAMMAR));
        }
        if !self.eat('(') {
            return self.axis();
        }
        let mut parts = vec![self.product(depth + 1)?];
        while self.eat(',') {
            parts.push(self.product(depth + 1)?);
        }
        if !self.eat(')') {
            return Err(self.wrong("a ')' is missing", GRAMMAR));
        }
        Ok(one_or(parts, Expr::Zip))
    }

    fn axis(&mut self) -> Result<Expr, Wrong> {
        let next = self.peek();
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len());
        let name = &rest[..end];
        if name.is_empty() {
            let found = next.map_or("the expression ends".to_owned(), |c| format!("'{c}' stands"));
            return Err(self.wrong(format!("{found} where an axis should be named"), GRAMMAR));
        }
        let Some(axis) = self.names.iter().position(|known| *known == name) else {
            let remedy = did_you_mean(name, self.names.iter().copied());
            return Err(self.wrong(format!("{} names no axis", quoted(name)), remedy));
        };
        if std::mem::replace(&mut self.used[axis], true) {
            return Err(self.wrong(format!("axis {} is used twice", quoted(name)), "name each axis once"));
        }
        self.at += end;
        Ok(Expr::Axis(axis))
    }
}

fn one_or(mut parts: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    if parts.len() == 1 { parts.remove(0) } else { many(parts) }
}

impl Expr {
    /// Which axes it names.
    pub(crate) fn axes_into(&self, axes: &mut std::collections::BTreeSet<usize>) {
        match self {
            Self::Axis(axis) => drop(axes.insert(*axis)),
            Self::Product(parts) | Self::Zip(parts) => parts.iter().for_each(|part| part.axes_into(axes)),
        }
    }
}
