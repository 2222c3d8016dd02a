//! Conditions of a plan as other nodes judge them: comparisons of columns, and of keys of texts, with constants.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator};
use resprout_engine::table::{ColumnId, Value};
use resprout_sql::expression::{Collation, Type};
use resprout_sql::pushdown::{Comparator, Input, Rule, Step};

use crate::computed::{Computed, Key};
use crate::values::{data_type, of_scalar};

/// A column of the table, by its name in plans.
pub(crate) type Column = (ColumnId, Type);

/// What is read of rows, and what must hold of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) inputs: Vec<Input>,
    pub(crate) steps: Vec<Step>,
    /// How many parts of the condition there are, all of which must hold.
    parts: u16,
}

/// How a collation is called where rows are.
pub(crate) const fn rule(collation: Collation) -> Rule {
    match collation {
        Collation::GeneralCi => Rule::GeneralCi,
        Collation::Bin => Rule::Bin,
        Collation::Binary => Rule::Plain,
    }
}

const fn comparator(op: Operator) -> Option<Comparator> {
    Some(match op {
        Operator::Eq => Comparator::Equal,
        Operator::NotEq => Comparator::NotEqual,
        Operator::Lt => Comparator::Less,
        Operator::LtEq => Comparator::LessOrEqual,
        Operator::Gt => Comparator::Greater,
        Operator::GtEq => Comparator::GreaterOrEqual,
        _ => return None,
    })
}

impl Conditions {
    /// The number of an input, which is added if it is not there.
    pub(crate) fn input(&mut self, wanted: Input) -> Option<u16> {
        let known = self.inputs.iter().position(|known| *known == wanted);
        let at = known.unwrap_or(self.inputs.len());
        if known.is_none() {
            self.inputs.push(wanted);
        }
        u16::try_from(at).ok()
    }

    /// Adds a condition, if it is one that can be judged where rows are; whether it was added.
    pub(crate) fn add(&mut self, filter: &Expr, column: &dyn Fn(&str) -> Option<Column>) -> bool {
        let (inputs, steps) = (self.inputs.len(), self.steps.len());
        let added = self.condition(filter, column).is_some();
        if added {
            self.parts += 1;
        } else {
            self.inputs.truncate(inputs);
            self.steps.truncate(steps);
        }
        added
    }

    /// Nothing must hold.
    pub(crate) fn forget(&mut self) {
        self.steps.clear();
        self.parts = 0;
    }

    /// The whole condition.
    pub(crate) fn all(&self) -> Vec<Step> {
        let mut steps = self.steps.clone();
        if self.parts > 0 {
            steps.push(Step::All(self.parts));
        }
        steps
    }

    fn condition(&mut self, filter: &Expr, column: &dyn Fn(&str) -> Option<Column>) -> Option<()> {
        match filter {
            Expr::BinaryExpr(binary) if matches!(binary.op, Operator::And | Operator::Or) => {
                self.condition(&binary.left, column)?;
                self.condition(&binary.right, column)?;
                let is_and = binary.op == Operator::And;
                self.steps.push(if is_and { Step::All(2) } else { Step::Any(2) });
            }
            Expr::BinaryExpr(binary) => {
                let comparator = comparator(binary.op)?;
                let (left, right) = (&binary.left, &binary.right);
                let side = self.type_of(left, column).or_else(|| self.type_of(right, column))?;
                self.operand(left, side, column)?;
                self.operand(right, side, column)?;
                self.steps.push(Step::Compare(comparator));
            }
            Expr::Not(of) => {
                self.condition(of, column)?;
                self.steps.push(Step::Not);
            }
            Expr::IsNull(of) | Expr::IsNotNull(of) => {
                let ty = self.type_of(of, column)?;
                self.operand(of, ty, column)?;
                self.steps.push(Step::IsNull { negated: matches!(filter, Expr::IsNotNull(_)) });
            }
            Expr::Between(between) => {
                let ty = self.type_of(&between.expr, column)?;
                for part in [&between.expr, &between.low, &between.high] {
                    self.operand(part, ty, column)?;
                }
                self.steps.push(Step::Between { negated: between.negated });
            }
            Expr::InList(list) => {
                let ty = self.type_of(&list.expr, column)?;
                self.operand(&list.expr, ty, column)?;
                for item in &list.list {
                    self.operand(item, ty, column)?;
                }
                let items = u16::try_from(list.list.len()).ok().filter(|items| *items > 0)?;
                self.steps.push(Step::In { items, negated: list.negated });
            }
            Expr::ScalarFunction(call) => {
                let computed: &dyn std::any::Any = &**call.func.inner();
                let computed = computed.downcast_ref::<Computed>()?;
                self.computed(computed, &call.args, column)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// A condition that is computed by the same rules here and there.
    fn computed(
        &mut self,
        computed: &Computed,
        arguments: &[Expr],
        column: &dyn Fn(&str) -> Option<Column>,
    ) -> Option<()> {
        let steps = computed.steps.as_ref()?;
        let mut inputs = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let Expr::Column(name) = argument else { return None };
            inputs.push(self.input(Input::Column(column(&name.name)?.0))?);
        }
        for step in steps {
            self.steps.push(match step {
                Step::Input(at) => Step::Input(*inputs.get(usize::from(*at))?),
                other => other.clone(),
            });
        }
        Some(())
    }

    /// The type of what is no constant.
    #[expect(clippy::unused_self, reason = "reads as the others")]
    fn type_of(&self, of: &Expr, column: &dyn Fn(&str) -> Option<Column>) -> Option<Type> {
        match of {
            Expr::Column(name) => column(&name.name).map(|(_, ty)| ty),
            Expr::ScalarFunction(_) => key_of(of).map(|_| Type::Bytes),
            _ => None,
        }
    }

    /// A column, a key of one, or a constant of that type.
    fn operand(
        &mut self,
        of: &Expr,
        ty: Type,
        column: &dyn Fn(&str) -> Option<Column>,
    ) -> Option<()> {
        let step = match of {
            Expr::Column(name) => {
                let (id, own) = column(&name.name)?;
                // Two columns are compared by their bytes alone only if they have one type.
                let same = std::mem::discriminant(&own) == std::mem::discriminant(&ty);
                Step::Input(same.then(|| self.input(Input::Column(id)))??)
            }
            Expr::Literal(constant, _) => Step::Constant(value(constant, ty)?),
            Expr::ScalarFunction(_) => {
                let (name, rule) = key_of(of)?;
                Step::Input(self.input(Input::Key(column(name)?.0, rule))?)
            }
            _ => return None,
        };
        self.steps.push(step);
        Some(())
    }
}

/// The column of which a key is made.
fn key_of(of: &Expr) -> Option<(&str, Rule)> {
    let Expr::ScalarFunction(call) = of else { return None };
    let key: &dyn std::any::Any = &**call.func.inner();
    let key = key.downcast_ref::<Key>().filter(|key| !key.as_text)?;
    match &call.args[..] {
        [Expr::Column(name)] => Some((&name.name, rule(key.collation))),
        _ => None,
    }
}

fn value(constant: &ScalarValue, ty: Type) -> Option<Value> {
    if constant.data_type() != data_type(ty) || constant.is_null() {
        return None;
    }
    of_scalar(constant, ty).ok()
}
