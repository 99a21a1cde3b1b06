//! Which tasks there are: numbers, and which values each number stands for. Nothing is listed that can be computed.

use crate::{
    plan::TASKS_MAX,
    spec::{
        axes::Axis,
        combine::Expr,
        matrix::{Exclude, Matrix},
        policy::Order,
        report::Report,
    },
};

/// The tasks of one layer; every layer of a job has the same.
#[derive(Debug, Clone)]
pub(crate) struct Expansion {
    /// `None` without axes: one task.
    shape: Option<Shape>,
    axes: usize,
    /// Numbers before exclusion, sorted.
    removed: Vec<u32>,
    tasks: u32,
    /// By position, the task; `None` when the positions are the tasks.
    order: Option<Vec<u32>>,
    arithmetic: String,
}

/// An expression with its count, so that a number can be taken apart.
#[derive(Debug, Clone)]
struct Shape {
    count: u32,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Axis(usize),
    Product(Vec<Shape>),
    Zip(Vec<Shape>),
}

impl Expansion {
    /// Counts first: nothing is expanded that has more than [`TASKS_MAX`] tasks.
    pub(crate) fn new(
        axes: &[Axis],
        matrix: &Matrix,
        order: Order,
        layers: usize,
        warnings: &mut Vec<String>,
        report: &mut Report,
    ) -> Option<Self> {
        let count = match &matrix.combine {
            None => 1,
            Some(expr) => count(expr, axes, matrix, report)?,
        };
        let words = matrix.combine.as_ref().map_or_else(|| "no axes".to_owned(), |expr| in_words(expr, axes));
        let total = count.saturating_mul(layers as u128);
        if total > u128::from(TASKS_MAX) {
            let times = if layers > 1 { format!(", for {layers} layers {total}") } else { String::new() };
            let message = format!("{words} = {count}{times} tasks, more than {TASKS_MAX}");
            report.add(&matrix.place, message, "take values out, or split the job");
            return None;
        }
        let count = u32::try_from(count).expect("TASKS_MAX");
        let mut made = Self {
            shape: matrix.combine.as_ref().map(|expr| shape(expr, axes)),
            axes: axes.len(),
            removed: Vec::new(),
            tasks: count,
            order: None,
            arithmetic: String::new(),
        };
        made.removed = made.remove(axes, &matrix.exclude, warnings);
        let removed = u32::try_from(made.removed.len()).expect("TASKS_MAX");
        made.tasks = count - removed;
        made.arithmetic = format!("{words} = {count}, exclude removes {removed}");
        if made.tasks == 0 {
            report.add(&matrix.place, format!("{}: no task is left", made.arithmetic), "exclude less");
        }
        if let Some((expect, place)) = &matrix.expect
            && *expect != u64::from(made.tasks)
        {
            let message = format!("expects {expect}, but {}, leaves {}", made.arithmetic, made.tasks);
            report.add(place, message, format!("write 'expect: {}' if that is what you mean", made.tasks));
        }
        if let Order::Interleave(axis) = order {
            made.order = Some(made.interleave(axis, &axes[axis]));
        }
        Some(made)
    }

    pub(crate) fn tasks(&self) -> u32 {
        self.tasks
    }

    pub(crate) fn arithmetic(&self) -> &str {
        &self.arithmetic
    }

    /// The task at a position of the order in which they start.
    pub(crate) fn order(&self, position: u32) -> u32 {
        self.order.as_ref().map_or(position, |order| order[position as usize])
    }

    /// By axis, the number of the value that `task` has. Axes outside of the combination have 0.
    pub(crate) fn picks(&self, task: u32) -> Vec<u32> {
        let mut picks = vec![0; self.axes];
        self.picks_into(task, &mut picks);
        picks
    }

    pub(crate) fn picks_into(&self, task: u32, picks: &mut [u32]) {
        assert!(task < self.tasks, "task {task} of {}", self.tasks);
        self.take_apart(self.number(task), picks);
    }

    /// The number of a task before exclusion: one more for every removed number before it.
    fn number(&self, task: u32) -> u32 {
        let (mut low, mut high) = (0, self.removed.len());
        while low < high {
            let middle = (low + high) / 2;
            // Before removed[middle] lie this many tasks that stay.
            if self.removed[middle] - middle as u32 <= task {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        task + low as u32
    }

    fn take_apart(&self, number: u32, picks: &mut [u32]) {
        if let Some(shape) = &self.shape {
            shape.take_apart(number, picks);
        }
    }

    /// The sorted numbers that `exclude` matches; an entry that matches none is told.
    fn remove(&self, axes: &[Axis], exclude: &[Exclude], warnings: &mut Vec<String>) -> Vec<u32> {
        if exclude.is_empty() {
            return Vec::new();
        }
        let tests: Vec<Vec<(usize, Vec<bool>)>> = exclude
            .iter()
            .map(|entry| {
                let table = |(axis, values): &(usize, Vec<u32>)| {
                    let mut has = vec![false; axes[*axis].len() as usize];
                    values.iter().for_each(|value| has[*value as usize] = true);
                    (*axis, has)
                };
                entry.tests.iter().map(table).collect()
            })
            .collect();
        let mut hits = vec![false; exclude.len()];
        let mut picks = vec![0; self.axes];
        let mut removed = Vec::new();
        for number in 0..self.tasks {
            self.take_apart(number, &mut picks);
            let mut is_removed = false;
            for (entry, hit) in tests.iter().zip(&mut hits) {
                if entry.iter().all(|(axis, has)| has[picks[*axis] as usize]) {
                    (*hit, is_removed) = (true, true);
                }
            }
            if is_removed {
                removed.push(number);
            }
        }
        let idle = hits.iter().enumerate().filter(|(_, hit)| !**hit);
        warnings.extend(idle.map(|(at, _)| format!("matrix.exclude[{at}] matches nothing")));
        removed
    }

    /// Rounds: in each, the next task of every value of the axis.
    fn interleave(&self, axis: usize, of: &Axis) -> Vec<u32> {
        let mut rounds = vec![0u32; of.len() as usize];
        let mut picks = vec![0; self.axes];
        let mut keyed: Vec<(u32, u32, u32)> = (0..self.tasks)
            .map(|task| {
                self.picks_into(task, &mut picks);
                let value = picks[axis];
                let round = rounds[value as usize];
                rounds[value as usize] += 1;
                (round, value, task)
            })
            .collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, _, task)| task).collect()
    }
}

impl Shape {
    fn take_apart(&self, mut number: u32, picks: &mut [u32]) {
        match &self.kind {
            Kind::Axis(axis) => picks[*axis] = number,
            Kind::Zip(parts) => parts.iter().for_each(|part| part.take_apart(number, picks)),
            Kind::Product(parts) => {
                for part in parts.iter().rev() {
                    part.take_apart(number % part.count, picks);
                    number /= part.count;
                }
            }
        }
    }
}

/// How many tasks; parts of a zip that differ are a problem.
fn count(expr: &Expr, axes: &[Axis], matrix: &Matrix, report: &mut Report) -> Option<u128> {
    match expr {
        Expr::Axis(axis) => Some(u128::from(axes[*axis].len())),
        Expr::Product(parts) => parts
            .iter()
            .map(|part| count(part, axes, matrix, report))
            .try_fold(1u128, |product, part| Some(product.saturating_mul(part?))),
        Expr::Zip(parts) => {
            let counts: Option<Vec<u128>> =
                parts.iter().map(|part| count(part, axes, matrix, report)).collect();
            let counts = counts?;
            if counts.iter().any(|count| *count != counts[0]) {
                let message =
                    format!("{} cannot go side by side: their numbers differ", in_words(expr, axes));
                report.add(
                    &matrix.place,
                    message,
                    "give them as many values each, or write '*' for every pair",
                );
                return None;
            }
            counts.first().copied()
        }
    }
}

/// Of an expression whose count is at most [`TASKS_MAX`].
fn shape(expr: &Expr, axes: &[Axis]) -> Shape {
    let all = |parts: &[Expr]| -> Vec<Shape> { parts.iter().map(|part| shape(part, axes)).collect() };
    let (count, kind) = match expr {
        Expr::Axis(axis) => (axes[*axis].len() as u32, Kind::Axis(*axis)),
        Expr::Product(parts) => {
            let parts = all(parts);
            (parts.iter().map(|part| part.count).product(), Kind::Product(parts))
        }
        Expr::Zip(parts) => {
            let parts = all(parts);
            (parts[0].count, Kind::Zip(parts))
        }
    };
    Shape { count, kind }
}

fn in_words(expr: &Expr, axes: &[Axis]) -> String {
    let all = |parts: &[Expr], between: &str| {
        let words: Vec<String> = parts.iter().map(|part| in_words(part, axes)).collect();
        words.join(between)
    };
    match expr {
        Expr::Axis(axis) => format!("{} {}", axes[*axis].name, axes[*axis].len()),
        Expr::Product(parts) => all(parts, " x "),
        Expr::Zip(parts) => format!("({})", all(parts, ", ")),
    }
}
