//! Reads values out of a model's config.json and names the key when one is wrong. It keeps no defaults of its own.

use serde_json::Value;

use crate::error::Error;
use crate::files::Files;

/// Numbers along one side of a tensor. The largest models have a quarter of this, and products of three fit a `usize`.
pub(crate) const SIZE_MAX: u64 = 1 << 20;

/// One JSON object and the file it came from.
#[derive(Debug)]
pub(crate) struct Settings {
    file: String,
    value: Value,
}

impl Settings {
    pub(crate) fn read(files: &Files, file: &str) -> Result<Self, Error> {
        Self::new(file, files.json(file)?)
    }

    pub(crate) fn new(file: &str, value: Value) -> Result<Self, Error> {
        let settings = Self { file: file.to_owned(), value };
        if settings.value.is_object() { Ok(settings) } else { Err(settings.wrong("", "not a JSON object")) }
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// The value of `key`; none when it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    pub(crate) fn wrong(&self, key: &str, message: impl Into<String>) -> Error {
        Error::Config { file: self.file.clone(), key: key.to_owned(), message: message.into() }
    }

    /// A whole number above zero that a side of a tensor can have.
    pub(crate) fn size(&self, key: &str, default: Option<usize>) -> Result<usize, Error> {
        let Some(value) = self.get(key) else {
            return default.ok_or_else(|| self.wrong(key, "missing"));
        };
        match value.as_u64() {
            Some(n @ 1..=SIZE_MAX) => Ok(n as usize),
            _ => Err(self.wrong(key, format!("{value} is not a whole number from 1 to {SIZE_MAX}"))),
        }
    }

    pub(crate) fn number(&self, key: &str, default: Option<f64>) -> Result<f64, Error> {
        let Some(value) = self.get(key) else {
            return default.ok_or_else(|| self.wrong(key, "missing"));
        };
        value.as_f64().ok_or_else(|| self.wrong(key, format!("{value} is not a number")))
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, Error> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(key, format!("{value} is neither true nor false")))
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// Fails unless `key` is absent or `wanted`: for switches of which one position is built.
    pub(crate) fn only(&self, key: &str, wanted: impl Into<Value>) -> Result<(), Error> {
        let wanted = wanted.into();
        match self.get(key) {
            Some(value) if *value != wanted => {
                Err(self.wrong(key, format!("{value} is not supported, {wanted} is")))
            }
            _ => Ok(()),
        }
    }
}
