import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Properties;

/** The trees of one XGBoost model in flat arrays, with what every decision says of the model. */
final class Model {
    final String[] features;
    final double reviewAt;
    final double declineAt;
    final Properties text = new Properties();

    private final float base;
    private final double priorShift;
    private final int[] roots;
    /** Feature of a node, or -1 for a leaf. */
    private final int[] feature;
    /** Threshold of a node, or the value of a leaf. */
    private final float[] value;
    /** The left child; the right one follows it. */
    private final int[] left;
    private final boolean[] missingGoesLeft;

    Model(Path file) throws IOException {
        try (BufferedReader reader = Files.newBufferedReader(file)) {
            text.load(reader);
        }
        features = text.getProperty("features").split(" ");
        reviewAt = Double.parseDouble(text.getProperty("review_at"));
        declineAt = Double.parseDouble(text.getProperty("decline_at"));
        base = Float.parseFloat(text.getProperty("base_margin"));
        priorShift = Double.parseDouble(text.getProperty("prior_shift"));
        roots = ints("roots");
        feature = ints("feature");
        left = ints("left");
        String[] values = text.getProperty("value").split(" ");
        value = new float[values.length];
        for (int at = 0; at < values.length; at++) {
            value[at] = Float.parseFloat(values[at]);
        }
        int[] flags = ints("missing_goes_left");
        missingGoesLeft = new boolean[flags.length];
        for (int at = 0; at < flags.length; at++) {
            missingGoesLeft[at] = flags[at] == 1;
        }
    }

    private int[] ints(String name) {
        return Arrays.stream(text.getProperty(name).split(" ")).mapToInt(Integer::parseInt).toArray();
    }

    /** The probability of fraud; a missing feature is NaN. */
    double score(float[] row) {
        final int[] feature = this.feature;
        final float[] value = this.value;
        final int[] left = this.left;
        float margin = base;
        for (int at : roots) {
            for (int name = feature[at]; name >= 0; name = feature[at]) {
                float x = row[name];
                int right = x < value[at] || (x != x && missingGoesLeft[at]) ? 0 : 1;
                at = left[at] + right;
            }
            margin += value[at];
        }
        return 1 / (1 + Math.exp(-(margin + priorShift)));
    }
}
