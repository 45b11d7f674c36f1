//! `linnet policy list|check`.

use std::path::{Path, PathBuf};

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::table::Table;
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Policies {
    /// What happens to a pod that no policy selects; absent where nothing is in force (`policy check`).
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    error: Option<String>,
    policies: Vec<Document>,
    errors: Vec<Fault>,
}

#[derive(Debug, Serialize)]
struct Document {
    namespace: String,
    name: String,
    kind: String,
    directions: Vec<String>,
    endpoints: Vec<String>,
    file: String,
    line: u32,
}

#[derive(Debug, Serialize)]
struct Fault {
    file: String,
    line: u32,
    column: u32,
    message: String,
}

impl From<api::PolicyDocument> for Document {
    fn from(document: api::PolicyDocument) -> Self {
        Self {
            namespace: document.namespace,
            name: document.name,
            kind: document.kind,
            directions: document.directions,
            endpoints: document.endpoints,
            file: document.file,
            line: document.line,
        }
    }
}

impl From<api::PolicyError> for Fault {
    fn from(fault: api::PolicyError) -> Self {
        Self { file: fault.file, line: fault.line, column: fault.column, message: fault.message }
    }
}

impl Present for Policies {
    fn draw(&self, page: &mut Page) {
        if let (Some(state), Some(default)) = (&self.state, &self.default) {
            page.line(format!("{state}; a pod that no policy selects: {default}"));
            if let Some(error) = &self.error {
                page.line(error);
            }
            page.line("");
        }
        let mut table = if page.wide {
            Table::new(&["KIND", "NAMESPACE", "NAME", "DIRECTIONS", "SELECTS HERE", "FILE"])
        } else {
            Table::new(&["KIND", "NAMESPACE", "NAME", "DIRECTIONS", ">SELECTS HERE", "FILE"])
        };
        for document in &self.policies {
            let selects = if page.wide {
                dash(Some(&document.endpoints.join(",")))
            } else {
                document.endpoints.len().to_string()
            };
            table.row([
                document.kind.clone(),
                dash(Some(&document.namespace)),
                document.name.clone(),
                dash(Some(&document.directions.join(","))),
                selects,
                format!("{}:{}", document.file, document.line),
            ]);
        }
        page.table(&table);
        if !self.errors.is_empty() {
            page.line("");
        }
        for fault in &self.errors {
            page.line(format!("{}:{}:{}: {}", fault.file, fault.line, fault.column, fault.message));
        }
    }
}

pub(crate) async fn list(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply =
        client.policy().list(api::PolicyListRequest {}).await.map_err(|status| client.refused(status))?.into_inner();
    print.print(&Policies {
        default: Some(reply.default),
        state: Some(reply.state),
        error: present(reply.error),
        policies: reply.policies.into_iter().map(Document::from).collect(),
        errors: reply.errors.into_iter().map(Fault::from).collect(),
    })?;
    Ok(Answer::Yes)
}

pub(crate) async fn check(client: &Client, print: &Printer, files: &[PathBuf]) -> Result<Answer, Error> {
    let read = |path: &PathBuf| read(path);
    let files = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let reply = client
        .policy()
        .check(api::PolicyCheckRequest { files })
        .await
        .map_err(|status| client.refused(status))?
        .into_inner();
    let checked = Policies {
        default: None,
        state: None,
        error: None,
        policies: reply.policies.into_iter().map(Document::from).collect(),
        errors: reply.errors.into_iter().map(Fault::from).collect(),
    };
    print.print(&checked)?;
    Ok(checked.errors.is_empty().into())
}

fn read(path: &Path) -> Result<api::File, Error> {
    let content = std::fs::read_to_string(path).map_err(|cause| Error::File { path: path.to_owned(), cause })?;
    Ok(api::File { name: path.display().to_string(), content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn policies() -> Policies {
        Policies {
            default: Some("allow".into()),
            state: Some("in-force".into()),
            error: None,
            policies: vec![Document {
                namespace: "default".into(),
                name: "web-from-front".into(),
                kind: "NetworkPolicy".into(),
                directions: vec!["Ingress".into()],
                endpoints: vec!["default/web".into()],
                file: "web.yaml".into(),
                line: 1,
            }],
            errors: vec![Fault {
                file: "db.yaml".into(),
                line: 7,
                column: 5,
                message: "unknown field `ingres`".into(),
            }],
        }
    }

    #[test]
    fn policies_read_well() {
        insta::assert_snapshot!(plain(&policies(), false));
    }

    #[test]
    fn wide_names_whom_a_policy_selects() {
        insta::assert_snapshot!(plain(&policies(), true));
    }

    #[test]
    fn policies_are_a_contract() {
        insta::assert_snapshot!(json(&policies()));
    }
}
