// Makes a replica set of one and the platform's user; run again it changes nothing but the password.
// Run by `mongosh --nodb init.js`. The address comes from the environment, because it has the
// administrator's password in it and a command line is read by others.

db = connect(process.env.MONGO_ADMIN_URL);
const host = process.env.MONGO_HOST;
const database = process.env.MONGO_DB;

let isMember = true;
try {
  rs.status();
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  isMember = false;
}
if (!isMember) {
  rs.initiate({ _id: process.env.MONGO_REPLICA_SET, members: [{ _id: 0, host: `${host}:27017` }] });
}
const patience = Date.now() + 60_000;
while (!db.hello().isWritablePrimary) {
  if (Date.now() > patience) throw new Error("no primary after 60 s");
  sleep(200);
}

// dbAdmin because migrations make collections, indexes and validators
const roles = [
  { role: "readWrite", db: database },
  { role: "dbAdmin", db: database },
];
const target = db.getSiblingDB(database);
const account = { pwd: process.env.MONGO_PASSWORD, roles };
if (target.getUser(process.env.MONGO_USER) === null) {
  target.createUser({ user: process.env.MONGO_USER, ...account });
} else {
  target.updateUser(process.env.MONGO_USER, account);
}
const monitoring = db.getSiblingDB("admin");
if (process.env.MONGO_MONITOR_PASSWORD) {
  const watcher = {
    pwd: process.env.MONGO_MONITOR_PASSWORD,
    roles: [{ role: "clusterMonitor", db: "admin" }, { role: "read", db: "local" }],
  };
  if (monitoring.getUser("neo_monitor") === null) {
    monitoring.createUser({ user: "neo_monitor", ...watcher });
  } else {
    monitoring.updateUser("neo_monitor", watcher);
  }
}
print("ready");
