import com.standardwebhooks.Webhook;
import com.standardwebhooks.exceptions.WebhookVerificationException;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Receive webhooks in Java: WEBHOOK_SECRET=whsec_… java -cp 'target/classes:target/dependency/*' Receive 8500 */
public final class Receive {
    private static final int BODY_BYTES_MAX = 1024 * 1024;

    private final Webhook webhook = new Webhook(System.getenv("WEBHOOK_SECRET"));
    private final ExecutorService work = Executors.newSingleThreadExecutor();
    /** In a real receiver: a table with a unique key, in your own transaction. */
    private final Set<String> taken = ConcurrentHashMap.newKeySet();

    public static void main(String[] arguments) throws IOException {
        int port = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 8500;
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        Receive receive = new Receive();
        server.createContext("/", receive::handle);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
        System.out.println("listening on http://127.0.0.1:" + server.getAddress().getPort());
    }

    private void handle(HttpExchange exchange) throws IOException {
        try {
            int status = take(exchange);
            if (status == 405) {
                exchange.getResponseHeaders().set("Allow", "POST");
            }
            exchange.sendResponseHeaders(status, -1);
        } finally {
            exchange.close();
        }
    }

    /** The status that a request is answered with. */
    private int take(HttpExchange exchange) throws IOException {
        if (!exchange.getRequestMethod().equals("POST")) {
            return 405;
        }
        // The body as it came: JSON that was parsed and written again has other bytes.
        byte[] bytes = exchange.getRequestBody().readNBytes(BODY_BYTES_MAX + 1);
        if (bytes.length > BODY_BYTES_MAX) {
            return 413;
        }
        String body = new String(bytes, StandardCharsets.UTF_8);
        try {
            webhook.verify(body, exchange.getRequestHeaders());
        } catch (WebhookVerificationException | RuntimeException error) {
            // Whatever else the library may throw over a garbled header: that is no proof either.
            return 401;
        }
        // The same over all tries of a delivery.
        String id = exchange.getRequestHeaders().getFirst("webhook-id");
        if (taken.add(id)) {
            work.execute(() -> System.out.println(id + " " + body)); // the work, after the answer
        }
        return 204;
    }
}
