// Opens a keystore and a truststore as a Java mail server does, serves TLS with the one on loopback, and connects with
// the other. Arguments: keystore, truststore, password, host name. Prints what it saw.

import java.io.FileInputStream;
import java.net.InetAddress;
import java.security.KeyStore;
import java.security.cert.X509Certificate;
import java.util.Collections;
import javax.net.ssl.*;

public class Store {
    static KeyStore open(String file, char[] password) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (FileInputStream in = new FileInputStream(file)) {
            store.load(in, password);
        }
        return store;
    }

    public static void main(String[] arguments) throws Exception {
        char[] password = arguments[2].toCharArray();
        KeyStore keys = open(arguments[0], password);
        KeyStore trusted = open(arguments[1], password);
        for (String alias : Collections.list(keys.aliases())) {
            System.out.println("key " + keys.isKeyEntry(alias) + " " + alias + " " + keys.getCertificateChain(alias).length);
        }
        for (String alias : Collections.list(trusted.aliases())) {
            System.out.println("trusted " + trusted.isCertificateEntry(alias) + " " + alias);
        }
        KeyManagerFactory own = KeyManagerFactory.getInstance("PKIX");
        own.init(keys, password);
        SSLContext serving = SSLContext.getInstance("TLS");
        serving.init(own.getKeyManagers(), null, null);
        TrustManagerFactory others = TrustManagerFactory.getInstance("PKIX");
        others.init(trusted);
        SSLContext asking = SSLContext.getInstance("TLS");
        asking.init(null, others.getTrustManagers(), null);
        InetAddress loopback = InetAddress.getLoopbackAddress();
        try (SSLServerSocket listener = (SSLServerSocket) serving.getServerSocketFactory().createServerSocket(0, 1, loopback)) {
            Thread server = new Thread(() -> {
                try (SSLSocket socket = (SSLSocket) listener.accept()) {
                    socket.getOutputStream().write('+');
                } catch (Exception e) {
                    System.out.println("server: " + e);
                }
            });
            server.start();
            java.net.Socket plain = new java.net.Socket(loopback, listener.getLocalPort());
            try (SSLSocket socket = (SSLSocket) asking.getSocketFactory().createSocket(plain, arguments[3], listener.getLocalPort(), true)) {
                SSLParameters parameters = socket.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                socket.setSSLParameters(parameters);
                int first = socket.getInputStream().read();
                X509Certificate leaf = (X509Certificate) socket.getSession().getPeerCertificates()[0];
                System.out.println("served " + (char) first + " " + leaf.getSerialNumber().toString(16));
            }
            server.join();
        }
    }
}
