package drivers;

import java.math.BigDecimal;
import java.sql.Array;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;
import java.util.LinkedHashMap;
import org.postgresql.core.BaseConnection;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** Prints a JSON line per step: its result, or the error, and the transaction status of its connection. */
final class Report {
    /** What a step does. */
    interface Action {
        Object run() throws Exception;
    }

    static String scenario;

    private Report() {}

    static void step(String step, Connection connection, Action action) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("scenario", scenario);
        line.put("step", step);
        try {
            line.put("got", action.run());
        } catch (SQLException e) {
            line.put("error", describe(e));
        }
        if (connection != null) {
            line.put("status", status(connection));
        }
        System.out.println(json(line));
    }

    private static String status(Connection connection) throws SQLException {
        return switch (connection.unwrap(BaseConnection.class).getTransactionState()) {
            case IDLE -> "I";
            case OPEN -> "T";
            case FAILED -> "E";
        };
    }

    /** A batch's own exception carries the server's behind it. */
    private static Map<String, Object> describe(SQLException e) {
        SQLException told = e.getNextException() == null ? e : e.getNextException();
        ServerErrorMessage server = told instanceof PSQLException p ? p.getServerErrorMessage() : null;
        Map<String, Object> error = new LinkedHashMap<>();
        error.put("sqlstate", told.getSQLState());
        if (server == null) {
            error.put("message", told.getMessage());
            return error;
        }
        error.put("severity", server.getSeverity());
        error.put("message", server.getMessage());
        error.put("detail", server.getDetail());
        error.put("hint", server.getHint());
        error.put("position", server.getPosition());
        error.put("constraint", server.getConstraint());
        error.put("routine", server.getRoutine());
        return error;
    }

    private static String json(Object value) throws SQLException {
        if (value == null || value instanceof Integer || value instanceof Long || value instanceof Boolean) {
            return String.valueOf(value);
        }
        if (value instanceof BigDecimal number) {
            return json(number.toString());
        }
        if (value instanceof Array array) {
            return json(List.of((Object[]) array.getArray()));
        }
        StringBuilder text = new StringBuilder();
        if (value instanceof Map<?, ?> map) {
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                text.append(text.isEmpty() ? "{" : ", ").append(json(entry.getKey())).append(": ").append(json(entry.getValue()));
            }
            return text.append("}").toString();
        }
        if (value instanceof List<?> list) {
            for (Object item : list) {
                text.append(text.isEmpty() ? "[" : ", ").append(json(item));
            }
            return (text.isEmpty() ? text.append("[") : text).append("]").toString();
        }
        for (char c : value.toString().toCharArray()) {
            if (c == '"' || c == '\\') {
                text.append('\\').append(c);
            } else if (c < ' ') {
                text.append(String.format("\\u%04x", (int) c));
            } else {
                text.append(c);
            }
        }
        return "\"" + text + "\"";
    }
}
