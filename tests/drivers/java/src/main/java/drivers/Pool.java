package drivers;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.postgresql.PGConnection;

/** HikariCP under load, a thread for each client. What each turn is about is told in tests/drivers/pools/work.py. */
public final class Pool {
    private static final int CLIENTS = Integer.parseInt(System.getenv("CLIENTS"));
    private static final int TURNS = Integer.parseInt(System.getenv("TURNS"));
    private static final List<Integer> KEPT = List.of(0, 2, 5, 6);
    private static final String SUM = "SELECT count(*)::int, coalesce(sum(amount), 0)::int FROM ledger WHERE client = ?";
    private static final ConcurrentLinkedQueue<String> WRONG = new ConcurrentLinkedQueue<>();
    private static final AtomicInteger DONE = new AtomicInteger();

    /** What is done with a connection of the pool. */
    private interface Turn {
        void play(Connection c, int client, int turn) throws Exception;
    }

    private static final List<Turn> KINDS = List.of(Pool::insert, Pool::rollback, Pool::local, Pool::settings, Pool::cursor, Pool::copy,
        Pool::error, (c, client, turn) -> total(c, client, rowsBefore(turn)));

    private Pool() {}

    /** So many rows has a client kept of the turns before this one. */
    private static int rowsBefore(int turn) {
        return (int) IntStream.range(0, turn).filter(t -> KEPT.contains(t % 8)).count();
    }

    private static void check(Object found, Object wanted, String what) {
        if (!Objects.equals(found, wanted)) {
            throw new IllegalStateException(what + ": " + found + ", expected " + wanted);
        }
    }

    private static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
        }
    }

    private static void insert(Connection c, int client, int turn) throws SQLException {
        try (PreparedStatement s = c.prepareStatement("INSERT INTO ledger (client, turn, amount) VALUES (?, ?, ?)")) {
            s.setInt(1, client);
            s.setInt(2, turn);
            s.setInt(3, client + 1);
            check(s.executeUpdate(), 1, "rows inserted");
        }
    }

    private static void total(Connection c, int client, int count) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(SUM)) {
            s.setInt(1, client);
            try (ResultSet r = s.executeQuery()) {
                r.next();
                check(List.of(r.getInt(1), r.getInt(2)), List.of(count, count * (client + 1)), "rows and sum");
            }
        }
    }

    private static void checkValue(Connection c, String sql, String wanted) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            r.next();
            check(r.getString(1), wanted, sql);
        }
    }

    private static void rollback(Connection c, int client, int turn) throws SQLException {
        c.setAutoCommit(false);
        insert(c, client, turn);
        total(c, client, rowsBefore(turn) + 1);
        c.rollback();
    }

    private static void local(Connection c, int client, int turn) throws SQLException {
        c.setAutoCommit(false);
        run(c, "SET LOCAL work.who = '" + client + "." + turn + "'");
        insert(c, client, turn);
        checkValue(c, "SELECT current_setting('work.who')", client + "." + turn);
        c.commit();
    }

    private static void settings(Connection c, int client, int turn) throws SQLException {
        run(c, "SET work.who = '" + client + "." + turn + "'");
        run(c, "SET search_path = client_" + client + ", public");
        total(c, client, rowsBefore(turn));
        checkValue(c, "SELECT current_setting('work.who')", client + "." + turn);
        checkValue(c, "SHOW search_path", "client_" + client + ", public");
    }

    /** With a fetch size, in a transaction, pgjdbc reads a portal by portions. */
    private static void cursor(Connection c, int client, int turn) throws SQLException {
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("SELECT ? * 1000 + generate_series(1, 50)")) {
            s.setFetchSize(10);
            s.setInt(1, client);
            int next = client * 1000 + 1;
            try (ResultSet r = s.executeQuery()) {
                while (r.next()) {
                    check(r.getInt(1), next++, "row of the cursor");
                    checkValue(c, "SELECT " + client, String.valueOf(client));
                }
            }
            check(next, client * 1000 + 51, "end of the cursor");
        }
        c.commit();
    }

    private static void copy(Connection c, int client, int turn) throws Exception {
        String row = client + "\t" + turn + "\t" + (client + 1) + "\n";
        c.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY ledger (client, turn, amount) FROM STDIN", new StringReader(row));
    }

    private static void error(Connection c, int client, int turn) throws SQLException {
        try {
            run(c, "SELECT 1 / 0");
        } catch (SQLException e) {
            check(e.getSQLState(), "22012", "1 / 0");
            insert(c, client, turn);
            return;
        }
        check("no error", "22012", "1 / 0");
    }

    private static void play(HikariDataSource source, int client) {
        for (int turn = 0; turn < TURNS; turn++) {
            try (Connection c = source.getConnection()) {
                KINDS.get(turn % KINDS.size()).play(c, client, turn);
            } catch (Exception e) {
                WRONG.add("client " + client + ", turn " + turn + ": " + e.getMessage());
            }
            DONE.incrementAndGet();
        }
    }

    private static HikariConfig config() {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE")
            + "?prepareThreshold=1");
        config.setUsername(System.getenv("PGUSER"));
        config.setPassword(System.getenv("PGPASSWORD"));
        config.setMaximumPoolSize(CLIENTS);
        config.setConnectionTimeout(60000);
        return config;
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + '"';
    }

    /** Prints how many turns were played, and what was wrong in them. */
    public static void main(String[] arguments) throws Exception {
        try (HikariDataSource source = new HikariDataSource(config())) {
            List<Thread> clients = IntStream.range(0, CLIENTS).mapToObj(client -> new Thread(() -> play(source, client))).toList();
            clients.forEach(Thread::start);
            for (Thread client : clients) {
                client.join();
            }
        }
        String wrong = WRONG.stream().limit(10).map(Pool::quoted).collect(Collectors.joining(", "));
        System.out.println("{\"turns\": " + DONE + ", \"heard\": null, \"wrong\": [" + wrong + "]}");
    }
}
