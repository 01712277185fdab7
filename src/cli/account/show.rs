//! Answers, for people or for programs.

use std::io::{self, Write};

use serde_json::json;

use super::super::output;
use crate::daemon::accounts::{AccountInfo, Answer, TokenInfo};

/// Prints an answer, and a password that was made for it.
pub fn show(answer: &Answer, password: Option<&str>, json: bool) -> io::Result<()> {
    let out = &mut output::stdout();
    match json {
        true => writeln!(out, "{}", as_json(answer, password)),
        false => for_people(answer, password, out),
    }
}

fn as_json(answer: &Answer, password: Option<&str>) -> serde_json::Value {
    let mut shown = json!(answer);
    if let (Some(password), Some(fields)) = (password, shown.as_object_mut()) {
        let name = match fields.contains_key("password") {
            true => "generated_password",
            false => "password",
        };
        fields.insert(name.to_owned(), json!(password));
    }
    shown
}

fn for_people(answer: &Answer, password: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    match answer {
        Answer::Accounts { accounts } => {
            let mut rows = vec![ACCOUNT.map(str::to_owned).to_vec()];
            rows.extend(accounts.iter().map(account));
            table(&rows, out)?;
        }
        // A password that was made is all that a script wants.
        Answer::Account(_) if password.is_some() => {}
        Answer::Account(one) => table(&[ACCOUNT.map(str::to_owned).to_vec(), account(one)], out)?,
        Answer::Members { members } => {
            let mut rows = vec![vec!["NAME".to_owned(), "PERMISSION".to_owned()]];
            rows.extend(
                members
                    .iter()
                    .map(|member| vec![member.name.clone(), word(&member.permission)]),
            );
            table(&rows, out)?;
        }
        Answer::Tokens { tokens } => {
            let head = [
                "ID",
                "NAME",
                "ENDS IN",
                "SCOPES",
                "GRANTS",
                "CREATED",
                "EXPIRES",
                "LAST USED",
            ];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(tokens.iter().map(token));
            table(&rows, out)?;
        }
        Answer::Created { secret, .. } => writeln!(out, "{secret}")?,
        Answer::Done {} => {}
    }
    match password {
        Some(password) => writeln!(out, "{password}"),
        None => Ok(()),
    }
}

const ACCOUNT: [&str; 7] = ["ID", "NAME", "KIND", "VISIBILITY", "STATE", "CREATED", "EMAIL"];

fn account(account: &AccountInfo) -> Vec<String> {
    let state = match (account.active, account.admin) {
        (false, _) => "inactive",
        (true, true) => "admin",
        (true, false) => "active",
    };
    vec![
        account.id.to_string(),
        account.name.clone(),
        account.kind.clone(),
        word(&account.visibility),
        state.to_owned(),
        account.created.clone(),
        account.email.clone(),
    ]
}

fn token(token: &TokenInfo) -> Vec<String> {
    let grants: Vec<String> = token
        .grants
        .iter()
        .map(|grant| {
            let permission = if grant.write { "write" } else { "read" };
            format!("{}={permission}", grant.packages)
        })
        .collect();
    let or_never = |time: &Option<String>| time.clone().unwrap_or_else(|| "never".to_owned());
    vec![
        token.id.to_string(),
        token.name.clone(),
        token.last_eight.clone(),
        token.scopes.join(","),
        match grants.is_empty() {
            true => "-".to_owned(),
            false => grants.join(","),
        },
        token.created.clone(),
        or_never(&token.expires),
        or_never(&token.last_used),
    ]
}

/// As JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

/// Columns two spaces apart. Control characters in names do not reach the terminal.
fn table(rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| harmless(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:0$}", width(column)))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::model::{Grant, Visibility};

    fn ann() -> AccountInfo {
        AccountInfo {
            id: 7,
            name: "ann".to_owned(),
            kind: "user".to_owned(),
            visibility: Visibility::Limited,
            active: true,
            admin: false,
            password: true,
            email: String::new(),
            created: "2026-11-27T00:00:00Z".to_owned(),
        }
    }

    fn human(answer: &Answer, password: Option<&str>) -> String {
        let mut out = Vec::new();
        for_people(answer, password, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_see_tables() {
        let accounts = vec![ann()];
        assert_eq!(
            human(&Answer::Accounts { accounts }, None),
            "ID  NAME  KIND  VISIBILITY  STATE   CREATED               EMAIL\n\
             7   ann   user  limited     active  2026-11-27T00:00:00Z\n"
        );
        let tokens = vec![TokenInfo {
            id: 8,
            name: "c\u{1b}i".to_owned(),
            last_eight: "12345678".to_owned(),
            scopes: vec!["write:package".to_owned()],
            created: "2026-11-27T00:00:00Z".to_owned(),
            expires: None,
            last_used: None,
            grants: vec![Grant {
                packages: "ci/*".to_owned(),
                write: true,
            }],
        }];
        let shown = human(&Answer::Tokens { tokens }, None);
        assert!(
            shown.contains("8   c\u{fffd}i   12345678  write:package  ci/*=write"),
            "{shown}"
        );
        assert_eq!(human(&Answer::Account(ann()), Some("secret")), "secret\n");
        assert_eq!(human(&Answer::Done {}, None), "");
    }

    #[test]
    fn programs_see_json() {
        let shown = as_json(&Answer::Account(ann()), Some("secret"));
        assert_eq!(
            (shown["name"].as_str(), shown["generated_password"].as_str()),
            (Some("ann"), Some("secret"))
        );
        assert_eq!(as_json(&Answer::Done {}, Some("s")), json!({"password": "s"}));
        assert_eq!(as_json(&Answer::Done {}, None), json!({}));
    }
}
