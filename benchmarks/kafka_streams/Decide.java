import java.nio.charset.StandardCharsets;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/** One transaction in, one decision out: the shipped schema decoded by hand, routed, scored and encoded by hand. */
final class Decide implements Processor<byte[], byte[], byte[], byte[]> {
    private static final byte[] INPUT_PREFIX = {0, 0, 0, 0, 1};
    private static final byte[] OUTPUT_PREFIX = {0, 0, 0, 0, 2};
    private static final int V_FEATURES = 28;

    private final Model model;
    private final long seed;
    /** Where V1 to V28, and then the amount, stand in the row that the model wants. */
    private final int[] slots = new int[V_FEATURES + 1];
    private final float[] row;
    private final byte[] policyAndModel;
    private final byte[] experiment;
    private final byte[] saltAndRest;
    private final Bytes out = new Bytes();

    private ProcessorContext<byte[], byte[]> context;
    private byte[] topic;
    private long topicHash;

    private byte[] input;
    private int at;

    Decide(Model model) {
        this.model = model;
        row = new float[model.features.length];
        for (int number = 0; number < slots.length; number++) {
            slots[number] = slot(number < V_FEATURES ? "V" + (number + 1) : "amount");
        }
        seed = Long.parseUnsignedLong(model.text.getProperty("seed"));
        policyAndModel = policyAndModel();
        out.clear();
        out.string(model.text.getProperty("experiment"));
        out.zigzag(1);
        out.string("champion");
        experiment = out.copy();
        out.clear();
        out.string(model.text.getProperty("salt_id"));
        out.real(1);
        // no shadow, not degraded, no fallback reason, replay, duplicate, reason codes or endpoint
        out.raw(new byte[8]);
        saltAndRest = out.copy();
    }

    private int slot(String name) {
        for (int position = 0; position < model.features.length; position++) {
            if (model.features[position].equals(name)) {
                return position;
            }
        }
        return -1;
    }

    private byte[] policyAndModel() {
        out.clear();
        out.string(model.text.getProperty("policy_version"));
        out.real(model.reviewAt);
        out.real(model.declineAt);
        out.string(model.text.getProperty("model_name"));
        out.string(model.text.getProperty("model_version"));
        String digest = model.text.getProperty("model_sha256");
        for (int half = 0; half < digest.length(); half += 16) {
            out.bigEndian(Long.parseUnsignedLong(digest.substring(half, half + 16), 16));
        }
        out.string("xgboost");
        return out.copy();
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        byte[] decision;
        try {
            decision = decide(record.value(), context.recordMetadata().orElseThrow());
        } catch (IllegalArgumentException | IndexOutOfBoundsException | NullPointerException broken) {
            context.forward(record, "dead-letters");
            return;
        }
        context.forward(record.withValue(decision), "decisions");
    }

    private byte[] decide(byte[] value, RecordMetadata source) {
        input = value;
        at = INPUT_PREFIX.length;
        for (int position = 0; position < at; position++) {
            require(value[position] == INPUT_PREFIX[position]);
        }
        int idLength = length();
        int id = at;
        at += idLength;
        int unitLength = length();
        int unit = at;
        at += unitLength;
        long eventTime = zigzag();
        features();
        require(at == value.length && idLength > 0 && unitLength > 0);

        double score = model.score(row);
        int outcome = score >= model.declineAt ? 2 : score >= model.reviewAt ? 1 : 0;
        long bucket = Long.remainderUnsigned(Bytes.xxh64(value, unit, unitLength, seed), 1_000_000);

        name(source.topic());
        out.clear();
        out.raw(OUTPUT_PREFIX);
        out.bigEndian(topicHash);
        out.bigEndian(1L << 63 | (long) source.partition() << 46 | source.offset());
        out.string(value, id, idLength);
        out.string(value, unit, unitLength);
        out.string(topic, 0, topic.length);
        out.zigzag(source.partition());
        out.zigzag(source.offset());
        out.zigzag(eventTime);
        out.zigzag(System.currentTimeMillis());
        out.real(score);
        out.zigzag(outcome);
        out.raw(policyAndModel);
        out.raw(experiment);
        out.zigzag(bucket);
        out.raw(saltAndRest);
        return out.copy();
    }

    /** The topic as bytes and the first half of its decisions' ids; it never changes in a run. */
    private void name(String name) {
        if (topic == null) {
            topic = name.getBytes(StandardCharsets.UTF_8);
            byte[] named = (name + "\0").getBytes(StandardCharsets.UTF_8);
            topicHash = Bytes.xxh64(named, 0, named.length, 0) & ~0xF000L | 0x8000L;
        }
    }

    private void features() {
        feature(V_FEATURES);
        for (int number = 0; number < V_FEATURES; number++) {
            byte branch = input[at++];
            if (branch == 2) {
                feature(number);
            } else {
                require(branch == 0);
                set(number, Float.NaN);
            }
        }
    }

    private void feature(int number) {
        float read = (float) Double.longBitsToDouble((long) Bytes.LONG.get(input, at));
        require(Math.abs(read) <= Float.MAX_VALUE);
        set(number, read);
        at += 8;
    }

    private void set(int number, float read) {
        if (slots[number] >= 0) {
            row[slots[number]] = read;
        }
    }

    private int length() {
        long length = zigzag();
        require(length >= 0 && length <= input.length - at);
        return (int) length;
    }

    private long zigzag() {
        long number = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            byte next = input[at++];
            number |= (next & 0x7FL) << shift;
            if (next >= 0) {
                return (number >>> 1) ^ -(number & 1);
            }
        }
        throw new IllegalArgumentException("a varint is longer than ten bytes");
    }

    private static void require(boolean condition) {
        if (!condition) {
            throw new IllegalArgumentException("this is no transaction");
        }
    }
}
