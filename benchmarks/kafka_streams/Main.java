import java.io.BufferedReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;

/** Main MODEL STREAMS_PROPERTIES INPUT DECISIONS DEAD_LETTERS: score a topic until SIGTERM. */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        Model model = new Model(Path.of(arguments[0]));
        Properties settings = new Properties();
        try (BufferedReader reader = Files.newBufferedReader(Path.of(arguments[1]))) {
            settings.load(reader);
        }
        ByteArrayDeserializer in = new ByteArrayDeserializer();
        ByteArraySerializer out = new ByteArraySerializer();
        Topology topology = new Topology();
        topology.addSource("transactions", in, in, arguments[2]);
        topology.addProcessor("decide", () -> new Decide(model), "transactions");
        topology.addSink("decisions", arguments[3], out, out, "decide");
        topology.addSink("dead-letters", arguments[4], out, out, "decide");
        KafkaStreams streams = new KafkaStreams(topology, settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
