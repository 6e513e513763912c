package drivers;

import static drivers.Report.step;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.PrintStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

/** pgjdbc: autocommit on and off, savepoints, batches, server-prepared statements, fetch sizes, COPY, notifications, cancel; HikariCP. */
public final class Main {
    private static final String LARGE_TEXT = "pgatomic".repeat(20 * 1024 * 1024 / 8);
    /** Of the driver's: "autosave=always" for example. */
    private static final String OPTIONS = System.getenv().getOrDefault("DRIVER_OPTIONS", "");
    private static final String INSERT = "INSERT INTO item (id) VALUES (?)";
    private static final String SLEEPS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        + "AND wait_event = 'PgSleep'";

    private Main() {}

    private static String url() {
        return "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE")
            + "?ApplicationName=" + application + "&" + OPTIONS;
    }

    private static String application = "pgjdbc";

    private static Connection connect() throws SQLException {
        return DriverManager.getConnection(url(), System.getenv("PGUSER"), System.getenv("PGPASSWORD"));
    }

    private static List<List<Object>> query(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            set(s, values);
            return rows(s);
        }
    }

    private static List<List<Object>> rows(PreparedStatement s) throws SQLException {
        List<List<Object>> found = new ArrayList<>();
        try (ResultSet r = s.executeQuery()) {
            while (r.next()) {
                List<Object> row = new ArrayList<>();
                for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) {
                    row.add(r.getObject(i));
                }
                found.add(row);
            }
        }
        return found;
    }

    private static void set(PreparedStatement s, Object... values) throws SQLException {
        for (int i = 0; i < values.length; i++) {
            s.setObject(i + 1, values[i]);
        }
    }

    private static Object change(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            set(s, values);
            return s.executeUpdate();
        }
    }

    /** One or more statements without a result of interest. */
    private static Object script(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
        }
        return null;
    }

    private static Object insert(Connection c, int id) throws SQLException {
        return change(c, INSERT, id);
    }

    private static List<Integer> column(List<List<Object>> rows) {
        return rows.stream().map(row -> (Integer) row.get(0)).toList();
    }

    private static int sum(List<Integer> numbers) {
        return numbers.stream().mapToInt(Integer::intValue).sum();
    }

    private static List<Integer> left(Connection c, int hundred) throws SQLException {
        return column(query(c, "SELECT id FROM item WHERE id / 100 = ? ORDER BY id", hundred));
    }

    private static Object commit(Connection c) throws SQLException {
        c.commit();
        return null;
    }

    private static Object rollback(Connection c) throws SQLException {
        c.rollback();
        return null;
    }

    private static void values(Connection c) throws Exception {
        step("literals", c, () -> query(c, "SELECT 42, 'Grüße', NULL, true"));
        step("parameters", c, () -> query(c, "SELECT ?::int + 1, ?::text || '!', encode(?::bytea, 'hex')", 7, "é",
            new byte[] {0, (byte) 255, 16}));
        step("arrays and numerics", c, () -> query(c, "SELECT ARRAY[1, 2, 3], 1.50::numeric"));
        step("no rows", c, () -> query(c, "SELECT 1 WHERE false"));
        step("many rows", c, () -> {
            List<Integer> found = column(query(c, "SELECT generate_series(1, 10000)"));
            return List.of(found.size(), sum(found));
        });
    }

    private static void transaction(Connection c) throws Exception {
        c.setAutoCommit(false);
        step("insert 201", c, () -> insert(c, 201));
        step("commit", c, () -> commit(c));
        step("insert 202", c, () -> insert(c, 202));
        step("rollback", c, () -> rollback(c));
        c.setAutoCommit(true);
        step("left", c, () -> left(c, 2));
    }

    /** A block as Spring would make it: a transaction, or a savepoint where one is open. It fails where `fails` says so. */
    private static void block(Connection c, boolean fails, Report.Action body) throws Exception {
        boolean outermost = c.getAutoCommit();
        Savepoint savepoint = null;
        if (outermost) {
            c.setAutoCommit(false);
        } else {
            savepoint = c.setSavepoint();
        }
        try {
            body.run();
        } catch (SQLException e) {
            undo(c, savepoint);
            throw e;
        }
        if (fails) {
            undo(c, savepoint);
        } else if (outermost) {
            c.commit();
        } else {
            c.releaseSavepoint(savepoint);
        }
        if (outermost) {
            c.setAutoCommit(true);
        }
    }

    private static void undo(Connection c, Savepoint savepoint) throws SQLException {
        if (savepoint == null) {
            c.rollback();
        } else {
            c.rollback(savepoint);
        }
    }

    private static Object descend(Connection c, int depth) throws Exception {
        block(c, depth == 3, () -> {
            insert(c, 305 + depth);
            return depth < 5 ? descend(c, depth + 1) : null;
        });
        return null;
    }

    private static void nested(Connection c) throws Exception {
        step("inner fails, outer commits", c, () -> {
            block(c, false, () -> {
                insert(c, 301);
                block(c, true, () -> insert(c, 302));
                block(c, false, () -> insert(c, 303));
                return null;
            });
            return left(c, 3);
        });
        step("inner commits, outer fails", c, () -> {
            block(c, true, () -> {
                insert(c, 304);
                block(c, false, () -> insert(c, 305));
                return null;
            });
            return left(c, 3);
        });
        step("the third of five fails", c, () -> {
            descend(c, 1);
            return left(c, 3);
        });
        step("a duplicate in the inner block", c, () -> {
            SQLException[] failure = new SQLException[1];
            block(c, false, () -> {
                insert(c, 311);
                try {
                    block(c, false, () -> insert(c, 311));
                } catch (SQLException e) {
                    failure[0] = e;
                }
                return insert(c, 312);
            });
            throw failure[0];
        });
        step("left", c, () -> left(c, 3));
    }

    private static void errors(Connection c) throws Exception {
        c.setAutoCommit(false);
        step("division by zero", c, () -> query(c, "SELECT 1 / ?", 0));
        step("after it", c, () -> query(c, "SELECT 1"));
        step("rollback", c, () -> rollback(c));
        step("insert 401", c, () -> insert(c, 401));
        Savepoint before = c.setSavepoint("before");
        step("duplicate", c, () -> insert(c, 401));
        step("rollback to savepoint", c, () -> {
            c.rollback(before);
            return null;
        });
        step("insert 402", c, () -> insert(c, 402));
        Savepoint then = c.setSavepoint("before");
        step("syntax", c, () -> query(c, "SELECT 1 FRM item"));
        step("rollback to savepoint again", c, () -> {
            c.rollback(then);
            return null;
        });
        step("no such table", c, () -> query(c, "SELECT * FROM missing"));
        step("rollback to savepoint at last", c, () -> {
            c.rollback(then);
            return null;
        });
        step("commit", c, () -> commit(c));
        step("insert 403", c, () -> insert(c, 403));
        step("division by zero again", c, () -> query(c, "SELECT 1 / 0"));
        step("commit of a failed transaction", c, () -> commit(c));
        c.setAutoCommit(true);
        step("left", c, () -> left(c, 4));
    }

    private static void bareError(Connection c) throws Exception {
        step("insert 501", c, () -> insert(c, 501));
        step("division by zero", c, () -> query(c, "SELECT 1 / ?", 0));
        step("next", c, () -> query(c, "SELECT 1"));
        step("rollback", c, () -> script(c, "ROLLBACK"));
        step("insert 502", c, () -> insert(c, 502));
        step("left", c, () -> left(c, 5));
    }

    private static void deferred(Connection c) throws Exception {
        c.setAutoCommit(false);
        step("insert 601", c, () -> change(c, "INSERT INTO item (id, owner) VALUES (601, 99)"));
        step("commit", c, () -> commit(c));
    }

    private static void copy(Connection c) throws Exception {
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 1000; i++) {
            lines.append(i).append("\trow ").append(i).append('\n');
        }
        var copies = c.unwrap(PGConnection.class).getCopyAPI();
        step("in", c, () -> copies.copyIn("COPY bulk (id, body) FROM STDIN", new StringReader(lines.toString())));
        step("out", c, () -> {
            StringWriter out = new StringWriter();
            copies.copyOut("COPY bulk (id, body) TO STDOUT", out);
            List<Integer> ids = out.toString().lines().map(line -> Integer.valueOf(line.split("\t")[0])).toList();
            return List.of(ids.size(), sum(ids));
        });
        c.setAutoCommit(false);
        step("bad data", c, () -> copies.copyIn("COPY bulk (id, body) FROM STDIN", new StringReader("5000\tgood\nnot a number\tbad\n")));
        step("rollback", c, () -> rollback(c));
        step("left", c, () -> query(c, "SELECT count(*) FROM bulk"));
        c.commit();
    }

    private static String md5(String text) throws Exception {
        byte[] digest = MessageDigest.getInstance("MD5").digest(text.getBytes(StandardCharsets.UTF_8));
        return String.format("%032x", new BigInteger(1, digest));
    }

    private static void large(Connection c) throws Exception {
        step("there and back", c, () -> {
            String text = (String) query(c, "SELECT ?::text", LARGE_TEXT).get(0).get(0);
            return List.of(text.length(), md5(text));
        });
        step("stored", c, () -> {
            change(c, "INSERT INTO bulk (id, body) VALUES (800000, ?)", LARGE_TEXT);
            return query(c, "SELECT length(body), md5(body) FROM bulk WHERE id = 800000");
        });
    }

    private static void cancel(Connection c) throws Exception {
        c.setAutoCommit(false);
        try (PreparedStatement sleep = c.prepareStatement("SELECT pg_sleep(60)")) {
            Thread canceller = new Thread(() -> {
                try (Connection watch = connect()) {
                    while (query(watch, SLEEPS).isEmpty()) {
                        query(watch, "SELECT pg_stat_clear_snapshot()");
                    }
                    sleep.cancel();
                } catch (SQLException e) {
                    throw new IllegalStateException(e);
                }
            });
            canceller.start();
            step("sleep", c, () -> rows(sleep));
            canceller.join();
        }
        step("rollback", c, () -> rollback(c));
        step("usable", c, () -> query(c, "SELECT 1"));
        c.rollback();
    }

    /** The driver fetches by hundreds; what it shows is a row at a time. */
    private static void cursor(Connection c) throws Exception {
        c.setAutoCommit(false);
        step("portions", c, () -> {
            try (PreparedStatement s = c.prepareStatement("SELECT generate_series(1, 1000)")) {
                s.setFetchSize(100);
                List<Integer> found = column(rows(s));
                c.commit();
                return List.of(found.size() / s.getFetchSize(), found.size(), sum(found));
            }
        });
    }

    private static void listen(Connection c) throws Exception {
        PGConnection listener = c.unwrap(PGConnection.class);
        List<Object> heard = new ArrayList<>();
        Connection speaker = connect();
        step("listen", c, () -> script(c, "LISTEN news"));
        script(speaker, "NOTIFY news, 'hello'");
        script(c, "SHOW timezone"); // opens no request, in which nothing could be heard
        hear(listener.getNotifications(), heard);
        step("heard at once", c, () -> heard);
        speaker.close();
        if (heard.isEmpty()) {
            hear(listener.getNotifications(30_000), heard);
        }
        step("heard after the end", c, () -> heard);
        step("unlisten", c, () -> script(c, "UNLISTEN news"));
        hear(listener.getNotifications(), heard);
        step("heard at last", c, () -> heard);
    }

    private static void hear(PGNotification[] notifications, List<Object> heard) {
        for (PGNotification n : notifications == null ? new PGNotification[0] : notifications) {
            heard.add(List.of(n.getName(), n.getParameter()));
        }
    }

    private static Object notify(Connection c, String channel, String payload) throws SQLException {
        return query(c, "SELECT pg_notify(?, ?)::text", channel, payload);
    }

    private static void tasks(Connection c) throws Exception {
        step("NOTIFY", c, () -> script(c, "NOTIFY tasks, 'notify'"));
        step("pg_notify", c, () -> notify(c, "tasks", "function"));
        block(c, false, () -> {
            step("committed", c, () -> notify(c, "tasks", "committed"));
            return null;
        });
        block(c, true, () -> {
            step("rolled back", c, () -> notify(c, "tasks", "rolled back"));
            return null;
        });
        block(c, false, () -> {
            block(c, true, () -> {
                step("undone by a savepoint", c, () -> notify(c, "tasks", "undone"));
                return null;
            });
            step("kept by it", c, () -> notify(c, "tasks", "kept"));
            return null;
        });
        c.setAutoCommit(false);
        step("bad channel", c, () -> notify(c, "", "x"));
        step("rollback", c, () -> rollback(c));
        c.setAutoCommit(true);
        step("NOTIFY without payload", c, () -> script(c, "NOTIFY tasks"));
    }

    /** HikariCP rolls back what a borrower left open. */
    private static void pool() throws Exception {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(url());
        config.setUsername(System.getenv("PGUSER"));
        config.setPassword(System.getenv("PGPASSWORD"));
        config.setMaximumPoolSize(1);
        try (HikariDataSource source = new HikariDataSource(config)) {
            step("first use", null, () -> marked(source, "/pool/first", 1201, true));
            step("left open", null, () -> {
                try (Connection c = source.getConnection()) {
                    beginRequest(c, "/pool/open");
                    c.setAutoCommit(false);
                    return insert(c, 1202);
                }
            });
            step("next use", null, () -> {
                try (Connection c = source.getConnection()) {
                    beginRequest(c, "/pool/next");
                    List<Integer> found = left(c, 12);
                    endRequest(c);
                    return found;
                }
            });
            step("marked", null, () -> marked(source, "/pool/marked", 1203, true));
            step("marked, no outcome", null, () -> marked(source, "/pool/forgotten", 1204, false));
            step("next mark", null, () -> marked(source, "/pool/last", 1205, true));
        }
    }

    private static void beginRequest(Connection c, String label) throws SQLException {
        query(c, "SELECT set_config('pgatomic.request', ?, false)", label);
    }

    private static void endRequest(Connection c) throws SQLException {
        query(c, "SELECT set_config('pgatomic.outcome', ?, false)", "commit");
    }

    private static Object marked(HikariDataSource source, String label, int id, boolean ends) throws SQLException {
        try (Connection c = source.getConnection()) {
            beginRequest(c, label);
            Object done = insert(c, id);
            if (ends) {
                endRequest(c);
            }
            return done;
        }
    }

    /** From its fifth execution on the driver uses a named statement. */
    private static void prepared(Connection c) throws Exception {
        try (PreparedStatement identity = c.prepareStatement("SELECT ?::int");
            PreparedStatement division = c.prepareStatement("SELECT 100 / ?::int")) {
            step("often", c, () -> {
                List<Integer> found = new ArrayList<>();
                for (int i = 1; i <= 100; i++) {
                    identity.setInt(1, i);
                    found.addAll(column(rows(identity)));
                }
                return List.of(found.size(), sum(found));
            });
            c.setAutoCommit(false);
            for (int i = 0; i < 10; i++) {
                division.setInt(1, 10);
                rows(division);
            }
            division.setInt(1, 0);
            step("fails", c, () -> rows(division));
            step("rollback", c, () -> rollback(c));
            division.setInt(1, 20);
            step("again", c, () -> rows(division));
            c.commit();
        }
    }

    /** A batch is one pipeline. The second parameter divides, so that a row can fail. */
    private static void pipeline(Connection c) throws Exception {
        step("good", c, () -> batch(c, new int[][] {{1401, 1}, {1402, 1}}));
        step("bad", c, () -> batch(c, new int[][] {{1403, 1}, {1406, 0}, {1404, 1}}));
        step("next", c, () -> query(c, "SELECT 1"));
        step("rollback", c, () -> script(c, "ROLLBACK"));
        step("insert 1405", c, () -> insert(c, 1405));
        step("left", c, () -> left(c, 14));
    }

    private static Object batch(Connection c, int[][] rows) throws SQLException {
        try (PreparedStatement s = c.prepareStatement("INSERT INTO item (id, note) VALUES (?, 1 / ?::int)")) {
            for (int[] row : rows) {
                s.setInt(1, row[0]);
                s.setInt(2, row[1]);
                s.addBatch();
            }
            return Arrays.stream(s.executeBatch()).boxed().toList();
        }
    }

    private static void marks(Connection c) throws Exception {
        request(c, "request", "/shop/checkout");
        insertion(c, 1501);
        insertion(c, 1502);
        step("show", c, () -> query(c, "SHOW pgatomic.request"));
        outcome(c, "outcome commit", "commit");
        request(c, "request to roll back", "/shop/rollback");
        insertion(c, 1503);
        outcome(c, "outcome rollback", "rollback");
        step("request by set_config", c, () -> query(c, "SELECT set_config('pgatomic.request', ?, false)", "/shop/basket"));
        insertion(c, 1504);
        step("outcome by set_config", c, () -> query(c, "SELECT set_config(?, ?, ?)", "pgatomic.outcome", "commit", false));
        request(c, "request that fails", "/shop/fails");
        insertion(c, 1505);
        step("division by zero", c, () -> query(c, "SELECT 1 / 0"));
        insertion(c, 1506);
        outcome(c, "outcome of the failed", "commit");
        request(c, "request with blocks", "/shop/blocks");
        step("blocks", c, () -> {
            block(c, false, () -> {
                insert(c, 1507);
                block(c, true, () -> insert(c, 1508));
                return insert(c, 1509);
            });
            return column(query(c, "SELECT id FROM item WHERE id BETWEEN 1507 AND 1509 ORDER BY id"));
        });
        outcome(c, "outcome of the blocks", "commit");
        request(c, "request with a deferred failure", "/shop/deferred");
        step("insert 1510", c, () -> change(c, "INSERT INTO item (id, owner) VALUES (1510, 99)"));
        outcome(c, "outcome of the deferred failure", "commit");
        request(c, "request without outcome", "/shop/forgotten");
        insertion(c, 1511);
        request(c, "next request", "/shop/next");
        insertion(c, 1512);
        outcome(c, "outcome of the next", "commit");
        request(c, "last request", "/shop/last");
        insertion(c, 1513);
    }

    private static void request(Connection c, String step, String label) throws Exception {
        step(step, c, () -> script(c, "SET pgatomic.request = '" + label + "'"));
    }

    private static void outcome(Connection c, String step, String how) throws Exception {
        step(step, c, () -> script(c, "SET pgatomic.outcome = '" + how + "'"));
    }

    private static void insertion(Connection c, int id) throws Exception {
        step("insert " + id, c, () -> insert(c, id));
    }

    /** The driver reaches large objects by function calls of the protocol. */
    private static void largeObject(Connection c) throws Exception {
        LargeObjectManager objects = c.unwrap(PGConnection.class).getLargeObjectAPI();
        c.setAutoCommit(false);
        step("written and read", c, () -> {
            long oid = objects.createLO();
            try (LargeObject object = objects.open(oid, LargeObjectManager.WRITE)) {
                object.write("pgatomic".repeat(375_000).getBytes(StandardCharsets.US_ASCII));
            }
            c.commit();
            try (LargeObject object = objects.open(oid, LargeObjectManager.READ)) {
                String text = new String(object.read(4_000_000), StandardCharsets.US_ASCII);
                return List.of(text.length(), md5(text));
            }
        });
        step("no such object", c, () -> objects.open(4_000_000_000L, LargeObjectManager.READ));
        step("rollback", c, () -> rollback(c));
        step("usable", c, () -> query(c, "SELECT 1"));
        c.commit();
    }

    private static void forgetful(Connection c) throws Exception {
        insertion(c, 1601);
    }

    /** The driver sends the statements of a string as one pipeline. */
    private static void strings(Connection c) throws Exception {
        step("good", c, () -> script(c, "INSERT INTO item (id) VALUES (1701); INSERT INTO item (id) VALUES (1702)"));
        step("bad", c, () -> script(c, "INSERT INTO item (id) VALUES (1703); SELECT 1 / 0; INSERT INTO item (id) VALUES (1704)"));
        step("next", c, () -> query(c, "SELECT 1"));
        step("rollback", c, () -> script(c, "ROLLBACK"));
        step("transactions inside", c, () -> script(c, "BEGIN; INSERT INTO item (id) VALUES (1705); COMMIT; "
            + "BEGIN; INSERT INTO item (id) VALUES (1706); ROLLBACK"));
        step("left", c, () -> left(c, 17));
    }

    private interface Scenario {
        void play(Connection c) throws Exception;
    }

    /** On a connection of its own. */
    private static void play(String name, Scenario scenario) throws Exception {
        Report.scenario = name;
        try (Connection c = connect()) {
            scenario.play(c);
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.setOut(new PrintStream(System.out, true, StandardCharsets.UTF_8));
        play("values", Main::values);
        play("transaction", Main::transaction);
        play("nested", Main::nested);
        play("errors", Main::errors);
        play("bare_error", Main::bareError);
        play("deferred", Main::deferred);
        play("copy", Main::copy);
        play("large", Main::large);
        play("cancel", Main::cancel);
        play("cursor", Main::cursor);
        play("listen", Main::listen);
        play("tasks", Main::tasks);
        Report.scenario = "pool";
        pool();
        play("prepared", Main::prepared);
        if (!OPTIONS.contains("preferQueryMode=simple")) { // where a batch is no pipeline
            play("pipeline", Main::pipeline);
        }
        play("marks", Main::marks);
        play("large_object", Main::largeObject);
        application = "forgetful";
        play("forgetful", Main::forgetful);
        application = "pgjdbc";
        play("strings", Main::strings);
    }
}
