//! What clients of a member do, whatever its engine is: write, read, ask it what it is, and promote it as nobody should.

use portolan::engine::fake;
use tokio_postgres::{Client, NoTls};

use super::{
    mariadb,
    postgres::{Engine, Member},
    redis,
};

impl Member {
    /// A client's connection.
    pub(crate) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let config =
            format!("host=127.0.0.1 port={} user=postgres dbname=postgres connect_timeout=2 application_name=test", self.client_port());
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// What a client reads; `None`: it does not answer.
    pub(crate) async fn read<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, sql: &str) -> Option<T> {
        self.connect().await.ok()?.query_one(sql, &[]).await.ok()?.try_get(0).ok()
    }

    /// A client's connection to a fake.
    pub(super) async fn client(&self) -> Option<fake::Client> {
        fake::Client::connect(&self.address()).await.ok()
    }

    /// Writes these numbers, one after the other. It ends when one is not acknowledged.
    pub(crate) async fn keep(&self, numbers: std::ops::RangeInclusive<i64>, mut acknowledged: impl FnMut(i64)) {
        match self.engine {
            Engine::Postgres | Engine::Patroni | Engine::Cnpg => {
                let client = self.connect().await.unwrap();
                let make = "create table if not exists ledger (id bigint primary key)";
                client.batch_execute(make).await.unwrap();
                for number in numbers {
                    if client.execute("insert into ledger values ($1)", &[&number]).await.is_err() {
                        return;
                    }
                    acknowledged(number);
                }
            }
            Engine::Mariadb => mariadb::keep(self, numbers, acknowledged).await,
            Engine::Redis => redis::keep(self, numbers, acknowledged).await,
            Engine::Fake | Engine::Managed => {
                let mut client = self.client().await.unwrap();
                for number in numbers {
                    if client.write(&number.to_string()).await.is_err() {
                        return;
                    }
                    acknowledged(number);
                }
            }
        }
    }

    /// The numbers that it keeps; `None`: it does not answer.
    pub(crate) async fn kept(&self) -> Option<Vec<i64>> {
        match self.engine {
            Engine::Postgres | Engine::Patroni | Engine::Cnpg => {
                self.read("select coalesce(array_agg(id order by id), '{}') from ledger").await
            }
            Engine::Mariadb => mariadb::kept(self).await,
            Engine::Redis => redis::kept(self).await,
            Engine::Fake | Engine::Managed => {
                Some(self.client().await?.texts().await.ok()?.iter().map(|text| text.parse().unwrap()).collect())
            }
        }
    }

    /// Whether it takes no writes; `None`: it does not answer.
    pub(crate) async fn is_standby(&self) -> Option<bool> {
        match self.engine {
            Engine::Postgres | Engine::Patroni | Engine::Cnpg => self.read("select pg_is_in_recovery()").await,
            Engine::Mariadb => mariadb::is_standby(self).await,
            Engine::Redis => redis::is_replica(self).await,
            Engine::Fake | Engine::Managed => Some(self.client().await?.status().await.ok()?.is_standby()),
        }
    }

    /// Promotes it behind everybody's back. The answer may be lost with the server.
    pub(crate) async fn promote_by_hand(&self) {
        match self.engine {
            Engine::Postgres | Engine::Patroni | Engine::Cnpg => {
                let _ = self.connect().await.unwrap().batch_execute("select pg_promote(true, 30)").await;
            }
            Engine::Mariadb => mariadb::promote(self).await,
            Engine::Redis => redis::promote(self).await,
            Engine::Fake | Engine::Managed => {
                let _ = self.client().await.unwrap().promote().await;
            }
        }
    }
}
