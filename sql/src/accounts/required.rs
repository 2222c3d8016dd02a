//! What a statement needs: one function, without looking at who runs it or what there is.
//!
//! All requirements of a list must hold; one of the privileges of each is enough. Where MySQL
//! looks at single columns, their table stands for them: an UPDATE or DELETE that reads any
//! column needs SELECT on the table.

use super::level::{Privileged, reach};
use super::privilege::Privileges;
use super::reads::Reads;
use crate::statement::{
    Absent, AlterAction, AlterTable, Assignment, ClusterStatement, ColumnValue, CreateTableLike,
    Delete, Duplicates, Explain, Explained, Flush, Grant, Insert, InsertSource, Level, LoadData,
    Maintenance, Operand, Revoke, Scope, SetValue, Show, Statement, TableName, Update, User,
    UserDefinition, UserDefinitions, row_lock,
};

/// One thing that a statement needs. Names without a database mean the one in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// One of these on everything (1227).
    Global(Privileges),
    /// One of these on a database (1044).
    Database(Option<String>, Privileges),
    /// One of these on a table (1142).
    Table {
        /// The table.
        table: TableName,
        /// The privileges.
        any_of: Privileges,
        /// What was tried, for the error.
        command: &'static str,
    },
    /// Anything in a database (1044).
    Enter(Option<String>),
    /// Anything on a table (1142).
    See(TableName),
    /// CREATE USER, unless all of these are the account itself (1227).
    Users(Vec<User>),
    /// To have all of these and GRANT OPTION (1044, 1045, 1142).
    Give(Level, Privileges),
}

use Privileges as P;

/// What a statement needs.
pub(crate) fn required(statement: &Statement) -> Vec<Requirement> {
    let mut needs = Needs::default();
    needs.statement(statement);
    needs.0
}

/// Who looks at the cluster's state.
const SEES_CLUSTER: [P; 3] = [P::SHOW_METADATA, P::CLUSTER, P::SUPER];

fn any(privileges: &[P]) -> P {
    privileges.iter().fold(P::NONE, |set, one| set | *one)
}

#[derive(Default)]
struct Needs(Vec<Requirement>);

impl Needs {
    fn push(&mut self, requirement: Requirement) {
        if !self.0.contains(&requirement) {
            self.0.push(requirement);
        }
    }

    fn global(&mut self, any_of: &[P]) {
        self.push(Requirement::Global(any(any_of)));
    }

    fn database(&mut self, name: Option<&str>, any_of: &[P]) {
        self.push(Requirement::Database(name.map(str::to_owned), any(any_of)));
    }

    /// Each of these on a table.
    fn table(&mut self, table: &TableName, each: &[P]) {
        for privilege in each {
            let command = privilege.names().next().unwrap_or("GRANT");
            self.push(Requirement::Table { table: table.clone(), any_of: *privilege, command });
        }
    }

    fn reads(&mut self, reads: &Reads) {
        for table in &reads.tables {
            self.table(table, &[P::SELECT]);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => {
                let mut reads = Reads::default();
                reads.look(&query.0);
                self.reads(&reads);
                if row_lock(query).is_some_and(|lock| lock.exclusive) {
                    self.locks_rows(&reads.tables);
                }
            }
            Statement::Explain(explain) => self.explain(explain),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::LoadData(load) => self.load(load),
            Statement::Do(expressions) => {
                let mut reads = Reads::default();
                expressions.iter().for_each(|expression| reads.look(&expression.0));
                self.reads(&reads);
            }
            Statement::Use(name) => self.push(Requirement::Enter(Some(name.clone()))),
            Statement::Set(assignments) => assignments.iter().for_each(|one| self.assignment(one)),
            Statement::Show(show) => self.show(show),
            Statement::Transaction(_) | Statement::UnlockTables => {}
            // Whose connection it is, is looked at when it is found.
            Statement::Kill(_) => {}
            Statement::Flush(flush) => self.flush(flush),
            Statement::CreateUsers(_)
            | Statement::AlterUsers(_)
            | Statement::DropUsers(_)
            | Statement::RenameUsers(_)
            | Statement::Grant(_)
            | Statement::Revoke(_) => self.accounts(statement),
            Statement::Cluster(cluster) => self.cluster(cluster),
            definition => self.definition(definition),
        }
    }

    /// `FOR UPDATE` keeps others from changing rows, as changing them would.
    fn locks_rows(&mut self, tables: &[TableName]) {
        for table in tables {
            self.push(Requirement::Table {
                table: table.clone(),
                any_of: any(&[P::UPDATE, P::DELETE, P::LOCK_TABLES]),
                command: "SELECT with locking clause",
            });
        }
    }

    fn explain(&mut self, explain: &Explain) {
        match &explain.explained {
            Explained::Statement(statement) => self.statement(statement),
            Explained::Cluster(_) => self.global(&SEES_CLUSTER),
        }
    }

    fn insert(&mut self, insert: &Insert) {
        self.table(&insert.table, &[P::INSERT]);
        if insert.replace {
            self.table(&insert.table, &[P::DELETE]);
        }
        let mut reads = Reads::default();
        match &insert.source {
            InsertSource::Rows(rows) => operands(&rows.values, &mut reads),
            InsertSource::Query(query) => reads.look(&query.0),
        }
        if !insert.on_duplicate.is_empty() {
            self.table(&insert.table, &[P::UPDATE]);
            values(&insert.on_duplicate, &mut reads);
        }
        self.reads(&reads);
    }

    fn update(&mut self, update: &Update) {
        self.table(&update.table, &[P::UPDATE]);
        let mut reads = Reads::default();
        values(&update.set, &mut reads);
        selection(&update.selection, &mut reads);
        if reads.columns {
            self.table(&update.table, &[P::SELECT]);
        }
        self.reads(&reads);
    }

    fn delete(&mut self, delete: &Delete) {
        self.table(&delete.table, &[P::DELETE]);
        let mut reads = Reads::default();
        selection(&delete.selection, &mut reads);
        if reads.columns {
            self.table(&delete.table, &[P::SELECT]);
        }
        self.reads(&reads);
    }

    fn load(&mut self, load: &LoadData) {
        if !load.local {
            self.global(&[P::FILE, P::FILE_READ]);
        }
        self.table(&load.table, &[P::INSERT]);
        if load.duplicates == Duplicates::Replace {
            self.table(&load.table, &[P::DELETE]);
        }
        let mut reads = Reads::default();
        values(&load.set, &mut reads);
        self.reads(&reads);
    }

    fn assignment(&mut self, assignment: &Assignment) {
        let is_global =
            |scope: &Scope| matches!(scope, Scope::Global | Scope::Persist | Scope::PersistOnly);
        let mut reads = Reads::default();
        match assignment {
            Assignment::Variable { scope, value, .. } => {
                if is_global(scope) {
                    self.global(&[P::SUPER]);
                }
                if let SetValue::Expression(expression) = value {
                    reads.look(&expression.0);
                }
            }
            Assignment::User { value, .. } => reads.look(&value.0),
            Assignment::Password { user, .. } => self.push(Requirement::Users(vec![user.clone()])),
            Assignment::Transaction { scope, .. } if is_global(scope) => self.global(&[P::SUPER]),
            Assignment::Transaction { .. } | Assignment::Names { .. } => {}
        }
        self.reads(&reads);
    }

    fn show(&mut self, show: &Show) {
        match show {
            Show::Leaves
            | Show::Aggregators { .. }
            | Show::Partitions { .. }
            | Show::RebalanceStatus { .. }
            | Show::RebalanceAllDatabasesStatus
            | Show::ClusterStatus
            | Show::ReplicationStatus => self.global(&SEES_CLUSTER),
            Show::DatabaseStatus { database }
            | Show::Tables { database, .. }
            | Show::TableStatus { database, .. } => {
                self.push(Requirement::Enter(database.clone()));
            }
            Show::CreateDatabase { name, .. } => {
                self.push(Requirement::Enter(Some(name.clone())));
            }
            Show::Columns { table, .. } | Show::Index { table, .. } | Show::CreateTable(table) => {
                self.push(Requirement::See(table.clone()));
            }
            Show::CreateUser(user) | Show::Grants(user) => {
                self.push(Requirement::Users(vec![user.clone()]));
            }
            Show::Absent { what: Absent::BinaryLog | Absent::Replica, .. } => {
                self.global(&[P::SUPER, P::REPLICATION_CLIENT]);
            }
            // What these list is only what may be seen.
            Show::Databases { .. } | Show::Processlist { .. } | Show::Absent { .. } => {}
            Show::Variables { .. }
            | Show::Status { .. }
            | Show::Warnings(_)
            | Show::Errors(_)
            | Show::Count { .. }
            | Show::CharacterSet(_)
            | Show::Collation(_)
            | Show::Engines
            | Show::Plugins
            | Show::Privileges => {}
        }
        self.filter(show);
    }

    /// A subquery in the WHERE of a SHOW reads tables as any other.
    fn filter(&mut self, show: &Show) {
        use crate::statement::Filter;
        let (Show::Databases { filter, .. }
        | Show::Tables { filter, .. }
        | Show::TableStatus { filter, .. }
        | Show::Columns { filter, .. }
        | Show::Index { filter, .. }
        | Show::Variables { filter, .. }
        | Show::Status { filter, .. }
        | Show::CharacterSet(filter)
        | Show::Collation(filter)
        | Show::Absent { filter, .. }) = show
        else {
            return;
        };
        if let Some(Filter::Where(condition)) = filter {
            let mut reads = Reads::default();
            reads.look(&condition.0);
            self.reads(&reads);
        }
    }

    fn flush(&mut self, flush: &Flush) {
        self.global(&[P::RELOAD]);
        if let Flush::Tables { tables, read_lock: true } = flush {
            for table in tables {
                self.database(table.database.as_deref(), &[P::LOCK_TABLES]);
                self.table(table, &[P::SELECT]);
            }
        }
    }

    fn accounts(&mut self, statement: &Statement) {
        match statement {
            Statement::AlterUsers(alter) if says_only_passwords(alter) => {
                let users = alter.users.iter().map(|user| user.user.clone());
                self.push(Requirement::Users(users.collect()));
            }
            Statement::Grant(grant) => self.grant(grant),
            Statement::Revoke(Revoke { privileges, level: Some(level), .. }) => {
                let privileges = Privileged::of(privileges, reach(level));
                self.push(Requirement::Give(level.clone(), privileges.unwrap_or_default().set()));
            }
            _ => self.global(&[P::CREATE_USER]),
        }
    }

    fn grant(&mut self, grant: &Grant) {
        let Grant { privileges, level, users, require_tls, .. } = grant;
        let given = Privileged::of(privileges, reach(level)).unwrap_or_default().set();
        self.push(Requirement::Give(level.clone(), given));
        let identified = |user: &UserDefinition| user.identified.is_some();
        if require_tls.is_some() || users.iter().any(identified) {
            self.global(&[P::CREATE_USER]);
        }
    }

    fn cluster(&mut self, cluster: &ClusterStatement) {
        match cluster {
            ClusterStatement::Snapshot { database, .. } => {
                self.database(Some(database), &[P::BACKUP, P::CLUSTER, P::SUPER]);
            }
            ClusterStatement::SyncPartitions { .. } => self.global(&SEES_CLUSTER),
            _ => self.global(&[P::CLUSTER, P::SUPER]),
        }
    }

    fn definition(&mut self, definition: &Statement) {
        match definition {
            Statement::CreateDatabase(create) => {
                self.database(Some(&create.name), &[P::CREATE, P::CREATE_DATABASE]);
            }
            Statement::AlterDatabase(alter) => self.database(alter.name.as_deref(), &[P::ALTER]),
            Statement::DropDatabase(drop) => {
                self.database(Some(&drop.name), &[P::DROP, P::DROP_DATABASE]);
            }
            Statement::CreateTable(create) => self.table(&create.name, &[P::CREATE]),
            Statement::CreateTableLike(CreateTableLike { name, like, .. }) => {
                self.table(name, &[P::CREATE]);
                self.table(like, &[P::SELECT]);
            }
            Statement::AlterTable(alter) => self.alter_table(alter),
            Statement::DropTables(drop) => {
                drop.tables.iter().for_each(|table| self.table(table, &[P::DROP]));
            }
            Statement::TruncateTable(table) => self.table(table, &[P::DROP]),
            Statement::RenameTables(pairs) => {
                for (from, to) in pairs {
                    self.table(from, &[P::ALTER, P::DROP]);
                    self.table(to, &[P::CREATE, P::INSERT]);
                }
            }
            Statement::CreateIndex(create) => self.table(&create.table, &[P::INDEX]),
            Statement::DropIndex(drop) => self.table(&drop.table, &[P::INDEX]),
            Statement::Maintenance(kind, tables) => {
                let each: &[P] = match kind {
                    Maintenance::Check | Maintenance::Checksum => &[P::SELECT],
                    Maintenance::Analyze | Maintenance::Optimize | Maintenance::Repair => {
                        &[P::SELECT, P::INSERT]
                    }
                };
                tables.iter().for_each(|table| self.table(table, each));
            }
            Statement::LockTables(locks) => {
                for lock in locks {
                    self.database(lock.table.database.as_deref(), &[P::LOCK_TABLES]);
                    self.table(&lock.table, &[P::SELECT]);
                }
            }
            // One that nobody thought of is for those who may do anything.
            _ => self.global(&[P::SUPER]),
        }
    }

    fn alter_table(&mut self, alter: &AlterTable) {
        self.table(&alter.table, &[P::ALTER, P::CREATE, P::INSERT]);
        for action in &alter.actions {
            if let AlterAction::Rename(to) = action {
                self.table(&alter.table, &[P::DROP]);
                self.table(to, &[P::CREATE, P::INSERT]);
            }
        }
    }
}

/// Whether an ALTER USER does what everybody may do to the own account.
fn says_only_passwords(alter: &UserDefinitions) -> bool {
    let by_password = |user: &UserDefinition| user.identified.is_some();
    alter.require_tls.is_none()
        && alter.locked.is_none()
        && alter.limits.is_empty()
        && alter.users.iter().all(by_password)
}

fn operands<'o>(operands: impl IntoIterator<Item = &'o Operand>, reads: &mut Reads) {
    for operand in operands {
        if let Operand::Expression(expression) = operand {
            reads.look(&expression.0);
        }
    }
}

fn values(values: &[ColumnValue], reads: &mut Reads) {
    operands(values.iter().map(|value| &value.value), reads);
}

fn selection(selection: &crate::statement::Selection, reads: &mut Reads) {
    if let Some(filter) = &selection.filter {
        reads.look(&filter.0);
    }
    selection.order_by.iter().for_each(|order| reads.look(&order.0));
}

#[cfg(test)]
#[path = "required_tests.rs"]
mod tests;
