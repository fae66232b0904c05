import jakarta.servlet.http.*;
import java.io.*;
import java.net.URL;
import java.security.*;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.apache.coyote.http2.Http2Protocol;
import org.apache.tomcat.util.net.*;

/** A server of the same four pages as the Go origin. Arguments: port, keystore, directory, origin, protocol. */
public class Origin {
  public static void main(String[] args) throws Exception {
    Tomcat tomcat = new Tomcat();
    tomcat.setBaseDir(args[2]);
    Connector connector = new Connector("org.apache.coyote.http11.Http11NioProtocol");
    connector.setPort(Integer.parseInt(args[0]));
    connector.setProperty("address", "127.0.0.1");
    connector.setSecure(true);
    connector.setScheme("https");
    connector.setProperty("SSLEnabled", "true");
    SSLHostConfig host = new SSLHostConfig();
    SSLHostConfigCertificate certificate = new SSLHostConfigCertificate(host, SSLHostConfigCertificate.Type.UNDEFINED);
    certificate.setCertificateFile(args[1] + "/cert.pem");
    certificate.setCertificateKeyFile(args[1] + "/key.pem");
    host.addCertificate(certificate);
    connector.addSslHostConfig(host);
    if (args[4].equals("h2")) connector.addUpgradeProtocol(new Http2Protocol());
    tomcat.setConnector(connector);
    Context context = tomcat.addContext("", args[2]);
    Tomcat.addServlet(context, "origin", new HttpServlet() {
      @Override protected void service(HttpServletRequest q, HttpServletResponse r) throws IOException {
        switch (q.getRequestURI()) {
          case "/early": r.setStatus(413); r.getWriter().print("too large"); return;
          case "/slow": slow(q, r, args[3]); return;
          default: echo(q, r);
        }
      }
    });
    context.addServletMappingDecoded("/*", "origin");
    tomcat.start();
    tomcat.getServer().await();
  }

  static void slow(HttpServletRequest q, HttpServletResponse r, String origin) throws IOException {
    r.setContentType("text/event-stream");
    try {
      while (true) {
        r.getOutputStream().print("data: x\n\n");
        r.flushBuffer();
        Thread.sleep(50);
      }
    } catch (IOException | InterruptedException gone) {
      new URL(origin + "/left?" + q.getQueryString()).openStream().close();
    }
  }

  static void echo(HttpServletRequest q, HttpServletResponse r) throws IOException {
    byte[] body = q.getInputStream().readAllBytes();
    try {
      StringBuilder sum = new StringBuilder();
      for (byte b : MessageDigest.getInstance("SHA-256").digest(body)) sum.append(String.format("%02x", b));
      r.setHeader("X-Sum", sum.toString());
    } catch (NoSuchAlgorithmException e) {
      throw new IOException(e);
    }
    r.setContentLength(body.length);
    r.getOutputStream().write(body);
  }
}
