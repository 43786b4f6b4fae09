//! Reading the configuration: the file with its line numbers, the environment over it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::{Table, Value};

use super::{Config, DataDir};

/// The environment's variables by name.
pub type Environment = BTreeMap<String, String>;

/// The file in the data folder that is read when no other is named.
const DATA_DIR_FILE: &str = "edgekeep.toml";

/// Keys that name a file: where the configuration file has them, they are relative to its folder, so
/// that a command finds them wherever it is run.
const FILES: [(&str, &str); 3] = [
    ("gate", "policy_file"),
    ("secrets", "master_key_file"),
    ("secrets", "wrapped_keys_file"),
];

const PREFIX: &str = "EDGEKEEP_";

/// Why the configuration is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was expected; the text names line and column.
    #[error("configuration file {path}: {text}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        text: String,
    },
    /// A variable is not what was expected.
    #[error("environment variable {name}: {text}")]
    Variable {
        /// The variable.
        name: String,
        /// What was expected.
        text: String,
    },
    /// A value is impossible, or impossible together with others.
    #[error("configuration key {key}: {expected}")]
    Impossible {
        /// The key.
        key: &'static str,
        /// What was expected.
        expected: String,
    },
}

impl Config {
    /// The configuration of `file` (or `EDGEKEEP_CONFIG`, or `edgekeep.toml` in the data folder
    /// where there is one) with `environment` over it.
    ///
    /// Variables with a double underscore are keys: `EDGEKEEP_TOKENS__AUDIENCE`. The value is
    /// read as what the key holds; lists are TOML (`["a", "b"]`) or `a,b`. Of those without,
    /// `EDGEKEEP_DATA_DIR` and `EDGEKEEP_MODE` are read here, the others belong to the scripts.
    ///
    /// # Errors
    /// What is wrong, where, and what was expected.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let data_dir = environment
            .get("EDGEKEEP_DATA_DIR")
            .filter(|text| !text.is_empty());
        let named = file
            .map(Path::to_owned)
            .or_else(|| {
                environment
                    .get("EDGEKEEP_CONFIG")
                    .filter(|text| !text.is_empty())
                    .map(PathBuf::from)
            })
            .or_else(|| {
                let default = DataDir::default();
                let folder = data_dir.map_or_else(|| default.0.clone(), PathBuf::from);
                Some(folder.join(DATA_DIR_FILE)).filter(|path| path.is_file())
            });
        let text = match &named {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::File {
                path: path.clone(),
                source,
            })?,
        };
        Self::parse(&named.unwrap_or_default(), &text, environment)
    }

    /// The configuration of `text` with `environment` over it, as [`load`](Self::load) has it;
    /// `path` is what errors call the text, and where the files lie that it names. Reads no file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let mut table = read(path, text)?;
        find_files_from(path, &mut table);
        for (variable, key) in [("EDGEKEEP_DATA_DIR", "data_dir"), ("EDGEKEEP_MODE", "mode")] {
            if let Some(text) = environment.get(variable).filter(|text| !text.is_empty()) {
                set(&mut table, variable, &[key.to_owned()], text)?;
            }
        }
        let mut waiting: Vec<(&str, Vec<String>, &str)> = environment
            .iter()
            .filter_map(|(variable, text)| {
                let key = variable
                    .strip_prefix(PREFIX)
                    .filter(|key| key.contains("__"))?;
                let path = key.split("__").map(str::to_ascii_lowercase).collect();
                Some((variable.as_str(), path, text.as_str()))
            })
            .collect();
        // A key may make sense only once another is there (`notify.email.host` after
        // `notify.email.kind`), so what does not fit yet is tried again as long as others fit.
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut refusal = Ok(());
            waiting.retain(
                |(variable, path, text)| match set(&mut table, variable, path, text) {
                    Ok(()) => false,
                    Err(error) => {
                        refusal = Err(error);
                        true
                    }
                },
            );
            if waiting.len() == before {
                refusal?;
            }
        }
        let config = Self::deserialize(table).map_err(|error| ConfigError::Variable {
            name: "EDGEKEEP_…".to_owned(),
            text: error.message().to_owned(),
        })?;
        config.check()?;
        Ok(config)
    }
}

/// Reads the text twice: as a configuration, for errors with their line, and as a table to put
/// the environment over.
fn read(path: &Path, text: &str) -> Result<Table, ConfigError> {
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        text: error.to_string().trim_end().to_owned(),
    };
    toml::from_str::<Config>(text).map_err(syntax)?;
    toml::from_str::<Table>(text).map_err(syntax)
}

/// Makes the files that the table names those of the folder that `path` is in.
fn find_files_from(path: &Path, table: &mut Table) {
    let Some(folder) = path.parent() else { return };
    for (section, key) in FILES {
        let value = table.get_mut(section).and_then(|keys| keys.get_mut(key));
        if let Some(Value::String(file)) = value
            && let Some(found) = folder.join(&*file).to_str()
        {
            found.clone_into(file);
        }
    }
}

/// Puts one variable into the table, in the first reading of its text that the key accepts.
fn set(table: &mut Table, variable: &str, path: &[String], text: &str) -> Result<(), ConfigError> {
    let refused = |text: String| ConfigError::Variable {
        name: variable.to_owned(),
        text,
    };
    let mut readings = vec![Value::String(text.to_owned())];
    // As TOML: numbers, truth values, lists, tables; then a list's items without its brackets.
    for text in [format!("value = {text}"), format!("value = [{text}]")] {
        if let Ok(mut parsed) = toml::from_str::<Table>(&text)
            && let Some(value) = parsed.remove("value")
            && parsed.is_empty()
        {
            readings.push(value);
        }
    }
    readings.push(Value::Array(
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Value::String(item.to_owned()))
            .collect(),
    ));
    let mut first_error = None;
    for (index, value) in readings.into_iter().enumerate() {
        let mut candidate = table.clone();
        if !insert(&mut candidate, path, value) {
            return Err(refused(
                "a part of the name is a value, not a section".to_owned(),
            ));
        }
        match Config::deserialize(candidate.clone()) {
            Ok(_) => {
                *table = candidate;
                return Ok(());
            }
            // The second reading's error is about the type that was meant; keep it if there is one.
            Err(error) if index < 2 => {
                let message = error
                    .message()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                first_error = Some(message);
            }
            Err(_) => {}
        }
    }
    // The message may quote the value, which may be a secret: only what is about names is passed on.
    let message = first_error.unwrap_or_default();
    let key = path.join(".");
    Err(refused(if message.contains("unknown field") {
        message
    } else if let Some((_, expected)) = message.rsplit_once("expected ") {
        format!("{key}: expected {expected}")
    } else {
        format!("the value does not fit {key}")
    }))
}

fn insert(table: &mut Table, path: &[String], value: Value) -> bool {
    match path {
        [] => false,
        [key] => {
            table.insert(key.clone(), value);
            true
        }
        [section, rest @ ..] => {
            let entry = table
                .entry(section.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            entry
                .as_table_mut()
                .is_some_and(|inner| insert(inner, rest, value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_looked_for_where_it_was_named() {
        let text = "data_dir = \"data\"\n[gate]\npolicy_file = \"policy.toml\"\n";
        let keys = "[secrets]\nprovider = \"file\"\nmaster_key_file = \"../key\"\n";
        let text = format!("{text}{keys}");
        let none = Environment::new();
        let variable = ("EDGEKEEP_GATE__POLICY_FILE", "other.toml");
        let variable = Environment::from([variable].map(|(k, v)| (k.to_owned(), v.to_owned())));
        for (path, environment, policy, key) in [
            ("etc/edgekeep.toml", &none, "etc/policy.toml", "etc/../key"),
            (
                "/etc/edgekeep.toml",
                &none,
                "/etc/policy.toml",
                "/etc/../key",
            ),
            ("edgekeep.toml", &none, "policy.toml", "../key"),
            ("etc/edgekeep.toml", &variable, "other.toml", "etc/../key"),
        ] {
            let config = Config::parse(Path::new(path), &text, environment).unwrap();
            let found = |file: Option<PathBuf>| file.unwrap().display().to_string();
            assert_eq!(found(config.gate.policy_file), policy, "{path}");
            assert_eq!(found(config.secrets.master_key_file), key, "{path}");
            assert_eq!(config.data_dir.display().to_string(), "data", "{path}");
        }
        let absolute = "[gate]\npolicy_file = \"/srv/policy.toml\"\n";
        let config = Config::parse(Path::new("etc/edgekeep.toml"), absolute, &none).unwrap();
        assert_eq!(config.gate.policy_file, Some("/srv/policy.toml".into()));
    }
}
