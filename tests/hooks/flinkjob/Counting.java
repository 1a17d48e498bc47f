import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** Counts up, some 200 records a second, and writes each down the moment it is processed: what is there twice was done twice. */
public class Counting {
    public static void main(String[] arguments) throws Exception {
        String file = arguments[0];
        StreamExecutionEnvironment job = StreamExecutionEnvironment.getExecutionEnvironment();
        job.setParallelism(1);
        job.fromSequence(0, 1_000_000_000L).map(number -> {
            Thread.sleep(5);
            String line = System.currentTimeMillis() + " " + number + "\n";
            Files.writeString(Path.of(file), line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            return number;
        }).returns(Long.class).sinkTo(new org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink<>());
        job.execute("counting");
    }
}
