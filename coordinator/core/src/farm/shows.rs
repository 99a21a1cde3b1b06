//! Shares and limits, as wranglers set them.

use crate::{
    mutant::{self, Mutant},
    show::{ShowSettings, WEIGHT_MAX},
    view::{LimitView, ShowView},
};

use super::Farm;

impl Farm {
    pub(super) fn show_set(&mut self, name: &str, settings: ShowSettings) {
        let show = self.shows.entry(name.to_owned()).or_default();
        show.settings = ShowSettings { weight: settings.weight.clamp(1, WEIGHT_MAX), ..settings };
        show.set = true;
        self.out.shows.insert(name.to_owned());
    }

    pub(super) fn limit_set(&mut self, name: &str, max: Option<u32>) {
        match max {
            Some(max) => drop(self.limits.insert(name.to_owned(), max)),
            None => drop(self.limits.remove(name)),
        }
        self.out.limits.insert(name.to_owned());
    }

    /// Every show that was set or has jobs, by name.
    #[must_use]
    pub fn shows(&self) -> Vec<ShowView> {
        let active = |name: &str| {
            let jobs = self.jobs.values().filter(|job| job.settled.is_none() && job.plan.show() == name);
            jobs.count() as u64
        };
        let view = |(name, show): (&String, &crate::show::Show)| ShowView {
            name: name.clone(),
            settings: show.settings.clone(),
            devices: show.devices,
            used_ms: show.used_ms,
            jobs_active: active(name),
        };
        self.shows.iter().map(view).collect()
    }

    /// Every limit that is defined, or named by a job that is not settled; by name.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitView> {
        let used = self.limits_used();
        let mut names: std::collections::BTreeSet<&str> = self.limits.keys().map(String::as_str).collect();
        for job in self.jobs.values().filter(|job| job.settled.is_none()) {
            for layer in 0..job.layers.len() as u32 {
                names.extend(job.plan.resources(layer).limits.iter().map(String::as_str));
            }
        }
        let view = |name: &str| LimitView {
            name: name.to_owned(),
            max: self.limits.get(name).copied(),
            used: used.get(name).copied().unwrap_or(0),
        };
        names.into_iter().map(view).collect()
    }

    /// What running attempts hold of each limit, counted from the devices: nothing is kept that could drift.
    pub(super) fn limits_used(&self) -> std::collections::BTreeMap<&str, u32> {
        let mut used = std::collections::BTreeMap::new();
        if self.limits.is_empty() || mutant::on(Mutant::LimitsUncounted) {
            return used;
        }
        // Of a gang the ranks end one by one, and it holds what it holds until the last.
        let running: std::collections::BTreeSet<_> = self.held().map(|held| &held.attempt.task).collect();
        for task in running {
            let Some(job) = self.jobs.get(&task.job) else { continue };
            for limit in &job.plan.resources(task.layer).limits {
                *used.entry(limit.as_str()).or_default() += 1;
            }
        }
        used
    }
}
