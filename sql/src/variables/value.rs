//! From what a SET gives to a variable's value.

use resprout_engine::table::Value;

use super::{Form, Variable};
use crate::error::{Code, SqlError};

/// What a SET gives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    /// `DEFAULT`.
    Default,
    /// A word such as ON, or the value of an expression.
    Value(Value),
}

/// A value that a variable may have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Converted {
    pub(crate) value: Value,
    /// The number lay outside of the bounds.
    pub(crate) clamped: bool,
}

impl Variable {
    /// The value that a variable gets.
    ///
    /// # Errors
    /// 1231 for a value that it cannot have, 1232 for one of a wrong type.
    pub(crate) fn convert(&self, given: &Value) -> Result<Converted, SqlError> {
        let exact = |value| Ok(Converted { value, clamped: false });
        match self.form {
            Form::Switch => exact(Value::Int(self.switched(given)?.into())),
            Form::Words(words) => {
                let text = given.to_string();
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(&text));
                let word = word.ok_or_else(|| self.wrong_value(given))?;
                exact(Value::Text((*word).to_owned()))
            }
            Form::Text => match given {
                Value::Text(_) => exact(given.clone()),
                Value::Null => Err(self.wrong_value(given)),
                other => exact(Value::Text(other.to_string())),
            },
            Form::Number(least, most) => {
                let number = self.number(given)?;
                let within = number.clamp(i128::from(least), i128::from(most));
                let value = Value::UInt(u64::try_from(within).unwrap_or(most));
                Ok(Converted { value, clamped: within != number })
            }
        }
    }

    /// The value that a variable of the cluster gets, as all nodes know it. A number outside of its bounds is refused.
    ///
    /// # Errors
    /// As [`Variable::convert`].
    pub(crate) fn convert_for_all(&self, given: &Value) -> Result<String, SqlError> {
        let Converted { value, clamped } = self.convert(given)?;
        if clamped { Err(self.wrong_value(given)) } else { Ok(self.shown(&value)) }
    }

    fn switched(&self, given: &Value) -> Result<bool, SqlError> {
        match given.to_string().to_ascii_lowercase().as_str() {
            "on" | "1" | "true" => Ok(true),
            "off" | "0" | "false" => Ok(false),
            _ => Err(self.wrong_value(given)),
        }
    }

    fn number(&self, given: &Value) -> Result<i128, SqlError> {
        match given {
            Value::Int(number) => Ok((*number).into()),
            Value::UInt(number) => Ok((*number).into()),
            _ => {
                let text = format!("Incorrect argument type to variable '{}'", self.name);
                Err(SqlError::new(Code::WRONG_TYPE_FOR_VARIABLE, text))
            }
        }
    }

    /// 1231.
    pub(crate) fn wrong_value(&self, given: &Value) -> SqlError {
        let text = format!("Variable '{}' can't be set to the value of '{given}'", self.name);
        SqlError::new(Code::WRONG_VALUE_FOR_VARIABLE, text)
    }
}
